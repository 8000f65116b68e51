//! Payloads as values of a listener's type, through the default codec.

use std::alloc::System;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::time::Duration;

use mcl_udp::{Bincode, Codec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What decoding may allocate whatever the payload says, all allocations of it
/// added up: 65,536 free elements of the 8 bytes that `Skipped` has, in vectors
/// that double, and a little for errors.
const FREE_BYTES: usize = 2 << 20;
/// And beyond it for each byte of the payload. The largest of the elements
/// below that take one byte have some 130 of memory; vectors double.
const BYTES_PER_BYTE: usize = 512;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Circle(u64),
    Line(i16, i16),
    Box { width: u128, depth: Option<i64> },
    Named(String, Vec<Shape>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Tree(Vec<Tree>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Chain(Option<Box<Chain>>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Expression {
    Value(i32),
    Not(Box<Expression>),
    All(Vec<Expression>),
    Let(BTreeMap<String, Expression>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Scan {
    name: String,
    shapes: Vec<Shape>,
    by_name: HashMap<String, Vec<Option<u32>>>,
    matrix: [[u32; 3]; 2],
    blob: ByteBuf,
    took: Duration,
    flag: bool,
    letter: char,
    unit: (),
}

/// Takes no byte on the wire, but some memory.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Skipped {
    #[serde(skip)]
    cache: u64,
}

macro_rules! kinds {
    ($($kind:ty),* $(,)?) => {
        const JUDGES: &[fn(&[u8])] = &[$(judge::<$kind>),*];
    };
}

kinds! {
    Vec<Vec<u8>>,
    Vec<Vec<Vec<u64>>>,
    Option<Option<Vec<Option<String>>>>,
    Vec<Shape>,
    HashMap<String, Vec<u8>>,
    HashMap<u16, HashMap<u16, ()>>,
    BTreeMap<Vec<u8>, BTreeSet<i64>>,
    String,
    ByteBuf,
    Tree,
    Chain,
    Expression,
    Scan,
    Vec<Scan>,
    Vec<()>,
    Vec<Vec<Skipped>>,
    Vec<[(); 32]>,
    (u8, u16, u32, u64, u128, i8, i16, i32, i64, i128),
    Vec<Option<[u64; 16]>>,
    Vec<(char, bool, Result<u8, String>)>,
}

/// How many types there are to decode as; the first byte chooses.
pub(crate) const KINDS: usize = JUDGES.len();

/// Decodes `bytes`, after the first, as the type which that chooses.
///
/// # Panics
/// If a value does not survive encoding and decoding, or took more memory than
/// its payload justifies.
pub(crate) fn typed(bytes: &[u8]) {
    let Some((kind, payload)) = bytes.split_first() else {
        return;
    };
    JUDGES[usize::from(*kind) % KINDS](payload);
}

fn judge<T: Serialize + DeserializeOwned + PartialEq + Debug>(payload: &[u8]) {
    let region = Region::new(ALLOCATOR);
    let decoded = Bincode.decode::<T>(payload);
    let allocated = region.change().bytes_allocated;
    let allowed = FREE_BYTES + BYTES_PER_BYTE * payload.len();
    assert!(
        allocated <= allowed,
        "{allocated} bytes allocated for {}",
        payload.len()
    );
    match decoded {
        Ok(value) => survives(&value, payload.len()),
        // An error must be able to say what it is.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, len: usize) {
    let mut encoded = Vec::new();
    Bincode.encode(value, &mut encoded).expect("it was decoded");
    // Numbers have one shortest form, and entries of a map may have been repeated.
    assert!(encoded.len() <= len);
    let again: T = Bincode.decode(&encoded).expect("it was encoded");
    assert!(again == *value, "{again:?} instead of {value:?}");
}
