//! Ratios from alternating runs, so that both of a pair meet the machine in the
//! same mood.

use std::env;
use std::fmt;
use std::io::{self, Write};

/// What two contenders took, or reached, in alternating runs.
#[derive(Clone, Debug)]
pub struct Pairs {
    dividends: Vec<f64>,
    divisors: Vec<f64>,
}

impl Pairs {
    /// Measures one pair after the other; each gives the two numbers of its ratio.
    pub fn of(pairs: usize, measure: impl FnMut(usize) -> (f64, f64)) -> Self {
        let (dividends, divisors) = (0..pairs).map(measure).unzip();
        Self {
            dividends,
            divisors,
        }
    }

    /// The median of what is divided.
    #[must_use]
    pub fn dividend(&self) -> f64 {
        median(self.dividends.clone())
    }

    /// The median of what it is divided by.
    #[must_use]
    pub fn divisor(&self) -> f64 {
        median(self.divisors.clone())
    }

    /// The ratio of each pair, in ascending order.
    #[must_use]
    pub fn ratios(&self) -> Vec<f64> {
        let pairs = self.dividends.iter().zip(&self.divisors);
        let mut ratios: Vec<_> = pairs
            .map(|(dividend, divisor)| dividend / divisor)
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }
}

/// The median of the ratios, and all of them.
impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} (", median(self.ratios()))?;
        for (at, ratio) in self.ratios().into_iter().enumerate() {
            let separator = if at == 0 { "" } else { " " };
            write!(f, "{separator}{ratio:.2}")?;
        }
        f.write_str(")")
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Whether the command line asks for the comparison `name`: as criterion sees it,
/// an argument that is no option is a part of the names that are wanted, and without
/// `--bench`, which `cargo bench` adds, nothing is measured.
#[must_use]
pub fn wanted(name: &str) -> bool {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let (options, filters): (Vec<_>, Vec<_>) = arguments.iter().partition(|it| it.starts_with('-'));
    let given = |option: &str| options.iter().any(|it| *it == option);
    let measures = given("--bench") && !given("--test") && !given("--list");
    measures && (filters.is_empty() || filters.iter().any(|it| name.contains(*it)))
}

/// Prints a line of a table.
pub fn row(cells: &[&dyn fmt::Display]) {
    let line: String = cells.iter().map(|cell| format!("| {cell} ")).collect();
    let _ = writeln!(io::stdout(), "{line}|");
}
