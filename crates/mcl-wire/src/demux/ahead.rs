//! Memory that is written to soon.

/// Bytes of a line of the cache.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Has the processor fetch `bytes`, without waiting for them.
///
/// What the next fragment overwrites has left the caches since it was written, and of many streams in turn
/// the processor cannot foresee where that is. Does nothing where the language has no
/// safe and stable way to say so (`core::hint::prefetch_write` will be one).
#[inline]
pub(crate) fn fetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    bytes.iter().step_by(LINE).for_each(safe_arch::prefetch_t0);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}
