//! Running other programs: what is run is shown first.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// A program with nothing to read, found also where Debian keeps those of the
/// administrator, which is not on the path of an ordinary user.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    if let Ok(path) = env::join_paths(folders) {
        command.env("PATH", path);
    }
    command.stdin(Stdio::null());
    command
}

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is shown, then run.
    Run,
    /// It is shown.
    Show,
    /// It is shown with `sudo`, for someone to run it.
    ShowWithSudo,
}

/// Shows commands and, depending on the mode, runs them.
#[expect(missing_debug_implementations, reason = "it borrows a trait object")]
pub struct Shell<'a> {
    out: &'a mut dyn Write,
    mode: Mode,
    commands: usize,
}

impl<'a> Shell<'a> {
    /// Shows on `out`.
    pub fn new(out: &'a mut dyn Write, mode: Mode) -> Self {
        let commands = 0;
        Self {
            out,
            mode,
            commands,
        }
    }

    /// What becomes of commands.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How many commands were shown.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.commands
    }

    /// Shows a line.
    ///
    /// # Errors
    /// What the system says about the output.
    pub fn say(&mut self, line: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.out, "{}", line.as_ref())
    }

    fn show(&mut self, command: &str) -> io::Result<()> {
        self.commands += 1;
        let prompt = match self.mode {
            Mode::Run | Mode::Show => "+",
            Mode::ShowWithSudo => "sudo",
        };
        writeln!(self.out, "  {prompt} {command}")
    }

    /// Runs the words of `command`, separated by single blanks; two of them
    /// in a row make an empty word. What is only shown has succeeded.
    ///
    /// # Errors
    /// It cannot be started, or fails; the error is its standard error.
    pub fn run(&mut self, command: &str) -> io::Result<()> {
        self.show(&quoted(command))?;
        if self.mode != Mode::Run {
            return Ok(());
        }
        let mut words = command.split(' ');
        let program = words.next().unwrap_or_default();
        let output = self::program(program)
            .args(words)
            .output()
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{program}: {}", stderr.trim())))
    }

    /// Writes a file, shown as the command `shown`.
    ///
    /// # Errors
    /// What the system says about the file.
    pub fn write(&mut self, shown: &str, path: &Path, content: &str) -> io::Result<()> {
        self.show(shown)?;
        match self.mode {
            Mode::Run => fs::write(path, content),
            Mode::Show | Mode::ShowWithSudo => Ok(()),
        }
    }

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says about the file.
    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.show(&format!("rm {}", path.display()))?;
        match self.mode {
            Mode::Run => fs::remove_file(path),
            Mode::Show | Mode::ShowWithSudo => Ok(()),
        }
    }
}

/// The command as one types it: an empty word needs quotes.
fn quoted(command: &str) -> String {
    let words = command.split(' ');
    let words: Vec<&str> = words
        .map(|word| if word.is_empty() { "''" } else { word })
        .collect();
    words.join(" ")
}
