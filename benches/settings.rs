//! How criterion measures in every benchmark here. A module of each and not of the
//! library, so that `raw-reference` is built without criterion.

use std::time::Duration;

use criterion::Criterion;

pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}
