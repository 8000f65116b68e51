//! Where benchmarks with sockets run: in a private network namespace, which leaves
//! the machine's network alone, on two processors.

use std::env;
use std::io::{self, Write};
use std::process::{Command, ExitCode};
use std::sync::LazyLock;

use mcl_testbed::Namespace;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Set in the process that was started in a namespace.
const INSIDE: &str = "MCL_BENCH_INSIDE";

/// The processors that this process may use, as it was started.
static PROCESSORS: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    (0..CpuSet::count())
        .filter(|&it| allowed.is_set(it).unwrap_or(false))
        .collect()
});

/// The two ends of a connection, each with a processor of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The one that measures.
    Near,
    /// The other one.
    Far,
}

/// Keeps the calling thread, and those that it starts, on the processor of `end`:
/// where the scheduler puts the threads would be measured otherwise. Does nothing
/// where there is one processor only, or the system refuses.
pub fn pin(end: End) {
    let &[near, far, ..] = PROCESSORS.as_slice() else {
        return;
    };
    let mut only = CpuSet::new();
    let processor = if end == End::Near { near } else { far };
    if only.set(processor).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &only);
    }
}

/// Runs `benches` in a process of its own in a private network namespace, whose
/// only interface for multicast is a bridge, on the near end's processor. Where
/// there is no such namespace to be had it says why, with the command that mends
/// it, and that they were skipped.
pub fn run(benches: impl FnOnce() + Send) -> ExitCode {
    let outcome = if env::var_os(INSIDE).is_some() {
        inside(benches)
    } else {
        outside()
    };
    outcome.unwrap_or_else(|why| {
        let _ = writeln!(
            io::stdout(),
            "skipped: {why}\nThese benchmarks need a private network namespace. Where \
             unprivileged ones are switched off:\n    sudo sysctl -w \
             kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000 \
             kernel.apparmor_restrict_unprivileged_userns=0\n(those of the three that \
             exist), and `sudo apt-get install util-linux iproute2` where `unshare` or \
             `ip` is missing."
        );
        ExitCode::SUCCESS
    })
}

fn inside(benches: impl FnOnce() + Send) -> Result<ExitCode, String> {
    LazyLock::force(&PROCESSORS);
    let namespace = Namespace::new().map_err(|error| error.to_string())?;
    let made = namespace.bridge("br0");
    made.map_err(|error| format!("no bridge: {error}"))?;
    namespace.run(|| {
        pin(End::Near);
        benches();
    });
    Ok(ExitCode::SUCCESS)
}

/// Starts this program again: without root by a user namespace, and with root where
/// these are switched off.
fn outside() -> Result<ExitCode, String> {
    let this = env::current_exe().map_err(|error| error.to_string())?;
    let mut reasons = Vec::new();
    for flags in ["-rn", "-n"] {
        let probe = ["ip", "link", "set", "dev", "lo", "up"];
        match Command::new("unshare").arg(flags).args(probe).output() {
            Ok(output) if output.status.success() => {
                let mut again = Command::new("unshare");
                again.arg(flags).arg(this).args(env::args_os().skip(1));
                let status = again.env(INSIDE, "1").status();
                let status = status.map_err(|error| format!("`unshare {flags}`: {error}"))?;
                return Ok(ExitCode::from(u8::from(!status.success())));
            }
            Ok(output) => {
                let stderr = String::from_utf8_lossy(&output.stderr);
                reasons.push(format!("`unshare {flags}`: {}", stderr.trim()));
            }
            Err(error) => reasons.push(format!("`unshare {flags}`: {error}")),
        }
    }
    Err(reasons.join("; "))
}
