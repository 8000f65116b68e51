//! What can be asked of a soak.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

const USAGE: &str =
    "usage: cargo xtask soak [--seconds 5..86400] [--seed N] [--load MB/s] [--out FILE.json]";

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    /// How long broadcasters publish.
    pub(super) seconds: u64,
    /// What all chances follow from.
    pub(super) seed: u64,
    /// What all broadcasters send together, in megabytes per second.
    pub(super) load: f64,
    /// Where the account goes as JSON.
    pub(super) out: Option<PathBuf>,
}

impl Options {
    pub(super) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            seconds: 120,
            seed: seed_of_now(),
            load: 12.0,
            out: None,
        };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(USAGE)?;
            options.set(name, value)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let wrong = || format!("{name} {value}: {USAGE}");
        match name {
            "--seconds" => self.seconds = value.parse().map_err(|_| wrong())?,
            "--seed" => self.seed = value.parse().map_err(|_| wrong())?,
            "--load" => self.load = value.parse().map_err(|_| wrong())?,
            "--out" => self.out = Some(value.into()),
            _ => return Err(USAGE.into()),
        }
        let possible = (5..=86_400).contains(&self.seconds) && (0.1..=1000.0).contains(&self.load);
        if possible { Ok(()) } else { Err(wrong()) }
    }

    /// The same as arguments, for the process inside the namespace.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "--seconds".into(),
            self.seconds.to_string(),
            "--seed".into(),
            self.seed.to_string(),
            "--load".into(),
            self.load.to_string(),
        ];
        if let Some(out) = &self.out {
            arguments.extend(["--out".into(), out.display().to_string()]);
        }
        arguments
    }
}

/// Another one for each run; short, because it is typed to repeat one.
fn seed_of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(1, |since| since.as_secs() % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn what_is_asked_for_reaches_the_process_inside() {
        let options = parse("--seconds 5 --seed 77 --load 2.5 --out a.json").unwrap();
        assert_eq!(options.seconds, 5);
        assert_eq!(Options::parse(&options.arguments()), Ok(options));
        assert_eq!(parse("").unwrap().seconds, 120);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for wrong in [
            "--seconds 4",
            "--seconds",
            "--seconds x",
            "--load 0",
            "--nope 1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
