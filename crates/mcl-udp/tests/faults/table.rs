//! What `cargo xtask faults` shows: a line for each scenario that ran.

/// What lines meant for that table begin with.
const MARK: &str = "mcl-faults> ";

/// A row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) scenario: &'a str,
    /// Messages and datagrams that were sent.
    pub(crate) sent: String,
    /// Messages that came whole and right.
    pub(crate) delivered: String,
    /// What became of the rest, and which counter says so.
    pub(crate) counted: String,
    pub(crate) recovery: String,
}

impl Row<'_> {
    /// Prints it for who collects rows.
    pub(crate) fn print(&self) {
        let cells = [
            self.scenario,
            &self.sent,
            &self.delivered,
            &self.counted,
            &self.recovery,
        ];
        println!("{MARK}{}", cells.join(" | "));
    }
}
