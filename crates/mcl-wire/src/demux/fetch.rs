//! Hints to the processor.

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// Has the processor fetch the line of the cache in which `place` begins.
#[inline]
pub(crate) fn fetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    safe_arch::prefetch_t0(place);
    // `core::hint::prefetch_write` will be one for all processors.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Has the processor fetch all lines in which `bytes` are.
#[inline]
pub(crate) fn fetch_all(bytes: &[u8]) {
    bytes.iter().step_by(LINE).for_each(fetch);
    // It may be in one more.
    if let Some(last) = bytes.last() {
        fetch(last);
    }
}
