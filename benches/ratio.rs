//! Ratios from alternating runs, so that both of a pair meet the machine in the
//! same mood.

use std::env;
use std::fmt;
use std::io::{self, Write};

/// Runs of two contenders in turn.
#[derive(Clone, Debug)]
pub struct Pairs {
    reference: Vec<f64>,
    contender: Vec<f64>,
}

impl Pairs {
    /// Measures one pair after the other; each gives the reference and the
    /// contender, in this order.
    pub fn of(pairs: usize, measure: impl FnMut(usize) -> (f64, f64)) -> Self {
        let (reference, contender) = (0..pairs).map(measure).unzip();
        Self {
            reference,
            contender,
        }
    }

    /// The median of the reference.
    #[must_use]
    pub fn reference(&self) -> f64 {
        median(self.reference.clone())
    }

    /// The median of the contender.
    #[must_use]
    pub fn contender(&self) -> f64 {
        median(self.contender.clone())
    }

    /// Each pair's reference to contender, in ascending order.
    #[must_use]
    pub fn ratios(&self) -> Vec<f64> {
        let pairs = self.reference.iter().zip(&self.contender);
        let mut ratios: Vec<_> = pairs.map(|(reference, it)| reference / it).collect();
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
/// an argument that is no option is a part of the names that are wanted. Nothing is
/// compared where criterion itself measures nothing.
#[must_use]
pub fn wanted(name: &str) -> bool {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let (options, filters): (Vec<_>, Vec<_>) = arguments.iter().partition(|it| it.starts_with('-'));
    let measures = !options.iter().any(|it| *it == "--test" || *it == "--list");
    measures && (filters.is_empty() || filters.iter().any(|it| name.contains(*it)))
}

/// Prints a line of a table.
pub fn row(cells: &[&dyn fmt::Display]) {
    let line: String = cells.iter().map(|cell| format!("| {cell} ")).collect();
    let _ = writeln!(io::stdout(), "{line}|");
}
