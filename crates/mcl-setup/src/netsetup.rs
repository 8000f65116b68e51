//! `mcl netsetup` and `cargo xtask netsetup`: make a machine ready for IPv6 multicast,
//! and prove it.

mod buffers;
mod device;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use thiserror::Error;

use mcl_net::{
    ChooseError, Finding, Interface, InterfaceChoice, InterfaceError, Machine, Refusal, Severity,
    Usability, choose, self_test,
};

use crate::command::{Mode, Shell};
use crate::privilege::may_change_interfaces;
use crate::usual_group;

/// What netsetup is asked to do; by default, to set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    action: Action,
    persist: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Action {
    #[default]
    SetUp,
    DryRun,
    Check,
    Undo,
}

impl Options {
    /// Reads `--dry-run`, `--check`, `--undo` (at most one of them) and `--persist`.
    ///
    /// # Errors
    /// [`UsageError`] for anything else, and for options that contradict each other.
    pub fn parse<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Self, UsageError> {
        let mut options = Self::default();
        for argument in arguments {
            let action = match argument {
                "--dry-run" => Action::DryRun,
                "--check" => Action::Check,
                "--undo" => Action::Undo,
                "--persist" => {
                    options.persist = true;
                    continue;
                }
                other => return Err(UsageError::Unknown(other.to_owned())),
            };
            if options.action != Action::SetUp {
                return Err(UsageError::TwoActions);
            }
            options.action = action;
        }
        let persists = matches!(options.action, Action::SetUp | Action::DryRun);
        if options.persist && !persists {
            return Err(UsageError::NothingToPersist);
        }
        Ok(options)
    }
}

/// Why arguments are no [`Options`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UsageError {
    /// There is no such option.
    #[error("netsetup has no option {0:?}; it takes --dry-run, --check, --undo and --persist")]
    Unknown(String),
    /// More than one thing to do.
    #[error("netsetup takes one of --dry-run, --check and --undo")]
    TwoActions,
    /// Nothing is set up that could outlive a reboot.
    #[error("--persist goes with setting up, not with --check or --undo")]
    NothingToPersist,
}

/// Why netsetup ended before it knew how the machine stands.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The system does not tell its interfaces.
    #[error(transparent)]
    Look(#[from] InterfaceError),
    /// A command or a file failed, or nothing can be shown.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The kernel makes none of the kinds of interface that would do.
    #[error(
        "the kernel makes neither a dummy device nor a bridge, a veth pair or a tap device; \
         load one of the modules dummy, bridge, veth, tun"
    )]
    NoDevice,
}

/// Where the machine keeps what is read and written, and whether that is allowed.
#[derive(Clone, Debug)]
struct Host {
    /// The settings of the kernel.
    proc_sys: PathBuf,
    /// What to take back; gone after a reboot, as are the changes themselves.
    state: PathBuf,
    /// The settings that outlive a reboot.
    sysctl_d: PathBuf,
    /// Whether interfaces may be changed (`CAP_NET_ADMIN`, capabilities(7)).
    privileged: bool,
}

impl Host {
    fn this() -> Self {
        Self {
            proc_sys: PathBuf::from("/proc/sys"),
            state: PathBuf::from("/run/mcl-netsetup"),
            sysctl_d: PathBuf::from("/etc/sysctl.d/60-mcl.conf"),
            privileged: may_change_interfaces(),
        }
    }
}

/// How the machine stands at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A datagram arrived, or what was asked for is done.
    Ready = 0,
    /// No datagram arrives, or what was asked for could not be done.
    NotReady = 1,
    /// A datagram arrives, but the receive buffers could be larger.
    SmallBuffers = 2,
}

/// Both entries exit with the number of the status.
impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// Does what `options` ask on this machine and tells of it on `out`.
///
/// Changes the network namespace of the calling thread, if it has the capability;
/// otherwise shows the commands for someone who has.
///
/// # Errors
/// [`enum@Error`], when the machine cannot be looked at, or what was begun fails.
pub fn run(options: Options, out: &mut dyn Write) -> Result<Status, Error> {
    run_on(options, &Host::this(), out)
}

fn run_on(options: Options, host: &Host, out: &mut dyn Write) -> Result<Status, Error> {
    let mode = match options.action {
        Action::DryRun => Mode::Show,
        _ if host.privileged => Mode::Run,
        _ => Mode::ShowWithSudo,
    };
    let mut shell = Shell::new(out, mode);
    match options.action {
        Action::Check => check(host, &mut shell),
        Action::Undo => undo(host, &mut shell),
        Action::SetUp | Action::DryRun => set_up(options, host, &mut shell),
    }
}

fn check(host: &Host, shell: &mut Shell<'_>) -> Result<Status, Error> {
    let machine = Machine::look()?;
    show(&machine, shell)?;
    for finding in machine.findings() {
        shell.say(format!("{}: {finding}", finding.severity()))?;
        for command in finding.remedy() {
            shell.say(format!("    {command}"))?;
        }
    }
    let status = prove(&machine, shell)?;
    if status == Status::Ready && !buffers::to_raise(host).is_empty() {
        return Ok(Status::SmallBuffers);
    }
    Ok(status)
}

fn set_up(options: Options, host: &Host, shell: &mut Shell<'_>) -> Result<Status, Error> {
    let machine = Machine::look()?;
    show(&machine, shell)?;
    for finding in machine.findings() {
        let shown_when_raised = matches!(finding, Finding::SmallBuffer { .. });
        if finding.severity() > Severity::Note && !shown_when_raised {
            shell.say(format!("{}: {finding}", finding.severity()))?;
        }
    }
    if machine.interfaces().iter().all(is_hopeless) {
        device::make(&machine, host, shell)?;
    }
    buffers::raise(host, shell)?;
    if options.persist {
        buffers::persist(host, shell)?;
    }
    match (shell.commands(), shell.mode()) {
        (0, _) => shell.say("Nothing to change.")?,
        (_, Mode::Run) => {}
        (_, Mode::Show) => {
            shell.say("Nothing was changed.")?;
            return Ok(Status::Ready);
        }
        (_, Mode::ShowWithSudo) => {
            shell.say("Nothing was changed, for want of privilege: run these commands, or this one with sudo.")?;
            return Ok(Status::NotReady);
        }
    }
    prove(&Machine::look()?, shell)
}

fn undo(host: &Host, shell: &mut Shell<'_>) -> Result<Status, Error> {
    device::unmake(&Machine::look()?, shell)?;
    buffers::restore(host, shell)?;
    match (shell.commands(), shell.mode()) {
        (0, _) => shell.say("Nothing to take back.")?,
        (_, Mode::Run) => shell.say("Taken back.")?,
        (_, Mode::Show | Mode::ShowWithSudo) => {
            shell.say("Nothing was taken back, for want of privilege: run these commands, or this one with sudo.")?;
            return Ok(Status::NotReady);
        }
    }
    Ok(Status::Ready)
}

fn is_hopeless(interface: &Interface) -> bool {
    matches!(interface.usability(), Usability::Unusable(_))
}

fn show(machine: &Machine, shell: &mut Shell<'_>) -> io::Result<()> {
    let size = |bytes: Option<usize>| bytes.map_or("not visible".to_owned(), |it| it.to_string());
    shell.say(format!(
        "Kernel {}; net.core.rmem_max {}, rmem_default {}; interfaces:",
        machine.kernel_release(),
        size(machine.rmem_max()),
        size(machine.rmem_default())
    ))?;
    for interface in machine.interfaces() {
        shell.say(format!("  {interface}: {}", interface.usability()))?;
    }
    Ok(())
}

/// Sends one datagram to itself on each interface that could carry it. The machine
/// is ready if it arrives where the system would send; if the system would not know
/// where to, anywhere.
fn prove(machine: &Machine, shell: &mut Shell<'_>) -> Result<Status, Error> {
    let mut arrived = Vec::new();
    for interface in machine.interfaces().iter().filter(|it| !is_hopeless(it)) {
        match self_test(interface) {
            Ok(took) => {
                shell.say(format!(
                    "{interface}: a datagram to itself arrived after {}",
                    short(took)
                ))?;
                arrived.push(interface.index());
            }
            Err(error) => shell.say(format!("{interface}: {error}"))?,
        }
    }
    let ready = match systems_choice() {
        Ok(interface) => arrived.contains(&interface.index()),
        // Said before, as a finding.
        Err(error) if matches!(error.refusal(), Refusal::NoneUsable) => false,
        Err(error) => {
            shell.say(error.to_string())?;
            !arrived.is_empty()
        }
    };
    if ready {
        shell.say("This machine is ready for IPv6 multicast.")?;
        return Ok(Status::Ready);
    }
    shell.say("This machine is not ready for IPv6 multicast.")?;
    Ok(Status::NotReady)
}

/// The interface that a connection gets which names none.
fn systems_choice() -> Result<Interface, ChooseError> {
    choose(&InterfaceChoice::System, &usual_group())
}

fn short(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use mcl_testbed::{Dad, Namespace};

    /// A machine whose settings are files of a folder of its own.
    struct Fake {
        folder: PathBuf,
        host: Host,
    }

    impl Fake {
        fn new(name: &str, rmem_max: &str, rmem_default: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("mcl-netsetup-{name}-{}", std::process::id()));
            let core = folder.join("proc/net/core");
            fs::create_dir_all(&core).unwrap();
            fs::write(core.join("rmem_max"), rmem_max).unwrap();
            fs::write(core.join("rmem_default"), rmem_default).unwrap();
            let host = Host {
                proc_sys: folder.join("proc"),
                state: folder.join("state"),
                sysctl_d: folder.join("60-mcl.conf"),
                privileged: true,
            };
            Self { folder, host }
        }

        fn buffers(&self) -> [String; 2] {
            ["rmem_max", "rmem_default"].map(|name| {
                let path = self.host.proc_sys.join("net/core").join(name);
                fs::read_to_string(path).unwrap().trim().to_owned()
            })
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    /// Runs netsetup in the namespace, on the fake machine; returns what it printed.
    fn netsetup(namespace: &Namespace, fake: &Fake, arguments: &str) -> (Status, String) {
        let options = Options::parse(arguments.split_whitespace()).unwrap();
        namespace.run(|| {
            let mut out = Vec::new();
            let status = run_on(options, &fake.host, &mut out);
            let out = String::from_utf8(out).unwrap();
            match status {
                Ok(status) => (status, out),
                Err(error) => panic!("{error}\n{out}"),
            }
        })
    }

    /// All that netsetup may change, as `ip` tells it.
    fn links(namespace: &Namespace) -> String {
        let all = namespace.ip(&["address"]).unwrap();
        // Duplicate address detection ends when it ends.
        all.replace(" tentative", "")
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn a_bare_machine_is_made_ready_proved_and_given_back() {
        let (namespace, fake) = (
            Namespace::new().unwrap(),
            Fake::new("bare", "212992", "212992"),
        );
        let bare = links(&namespace);
        let (status, out) = netsetup(&namespace, &fake, "--check");
        assert_eq!(status, Status::NotReady, "{out}");
        assert!(
            out.contains("obstacle: no interface can carry IPv6 multicast"),
            "{out}"
        );

        let (_, out) = netsetup(&namespace, &fake, "--dry-run --persist");
        assert!(
            out.contains("+ ip link add name dummy0 type dummy"),
            "{out}"
        );
        assert!(
            out.contains("+ sysctl -w net.core.rmem_max=2097152"),
            "{out}"
        );
        assert!(out.ends_with("Nothing was changed.\n"), "{out}");
        assert_eq!(links(&namespace), bare);
        assert_eq!(fake.buffers(), ["212992", "212992"]);
        assert!(!fake.host.sysctl_d.exists());

        let (status, out) = netsetup(&namespace, &fake, "");
        assert_eq!(status, Status::Ready, "{out}");
        assert!(out.contains("a datagram to itself arrived"), "{out}");
        assert!(links(&namespace).contains("inet6 fd34::1/64"));
        assert_eq!(fake.buffers(), ["2097152", "2097152"]);

        let made = links(&namespace);
        let (status, out) = netsetup(&namespace, &fake, "");
        assert_eq!(status, Status::Ready, "{out}");
        assert!(out.contains("Nothing to change."), "{out}");
        assert!(!out.contains("  + "), "{out}");
        assert_eq!(links(&namespace), made);
        assert_eq!(netsetup(&namespace, &fake, "--check").0, Status::Ready);

        let (status, out) = netsetup(&namespace, &fake, "--undo");
        assert_eq!(status, Status::Ready, "{out}");
        assert_eq!(links(&namespace), bare, "{out}");
        assert_eq!(fake.buffers(), ["212992", "212992"]);
        assert!(!fake.host.state.exists());
        let (_, out) = netsetup(&namespace, &fake, "--undo");
        assert_eq!(out, "Nothing to take back.\n");
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn a_usable_machine_keeps_its_interfaces_and_its_larger_buffers() {
        let (namespace, fake) = (
            Namespace::new().unwrap(),
            Fake::new("usable", "4194304", "212992"),
        );
        namespace.bridge_with(Dad::On, "br0").unwrap();
        // A tentative address is waited for, not replaced.
        let (status, out) = netsetup(&namespace, &fake, "--check");
        assert_eq!(status, Status::SmallBuffers, "{out}");
        assert!(
            out.contains("br0 (index 2): a datagram to itself arrived"),
            "{out}"
        );
        let before = links(&namespace);
        let (status, out) = netsetup(&namespace, &fake, "--persist");
        assert_eq!(status, Status::Ready, "{out}");
        assert_eq!(links(&namespace), before);
        assert_eq!(fake.buffers(), ["4194304", "2097152"]);
        let persisted = fs::read_to_string(&fake.host.sysctl_d).unwrap();
        assert!(
            persisted.contains("net.core.rmem_max = 4194304\n"),
            "{persisted}"
        );
        assert!(
            persisted.contains("net.core.rmem_default = 2097152\n"),
            "{persisted}"
        );
        let (_, out) = netsetup(&namespace, &fake, "--persist");
        assert!(out.contains("Nothing to change."), "{out}");
        // What someone changed since stays as it is.
        fs::write(fake.host.proc_sys.join("net/core/rmem_default"), "8388608").unwrap();
        let (_, out) = netsetup(&namespace, &fake, "--undo");
        assert!(
            out.contains("net.core.rmem_default was changed since"),
            "{out}"
        );
        assert_eq!(fake.buffers(), ["4194304", "8388608"]);
        assert_eq!(links(&namespace), before);
        assert!(!fake.host.sysctl_d.exists());
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn what_it_made_and_someone_spoilt_is_mended_not_made_twice() {
        let (namespace, fake) = (
            Namespace::new().unwrap(),
            Fake::new("spoilt", "4194304", "4194304"),
        );
        netsetup(&namespace, &fake, "");
        let made = namespace.run(|| Machine::look().unwrap());
        let name = made.usable().next().unwrap().name().to_owned();
        namespace
            .ip(&["link", "set", "dev", &name, "down"])
            .unwrap();
        let (status, out) = netsetup(&namespace, &fake, "");
        assert_eq!(status, Status::Ready, "{out}");
        assert!(!out.contains("+ ip link add"), "{out}");
        let now = namespace.run(|| Machine::look().unwrap());
        assert_eq!(now.interfaces().len(), made.interfaces().len());
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn an_idle_dummy0_is_adopted_and_given_back_idle() {
        let (namespace, fake) = (
            Namespace::new().unwrap(),
            Fake::new("idle", "4194304", "4194304"),
        );
        // Any device of that name serves, where the kernel has no dummy device.
        namespace
            .ip(&["link", "add", "name", "dummy0", "type", "bridge"])
            .unwrap();
        let bare = links(&namespace);
        let (status, out) = netsetup(&namespace, &fake, "");
        assert_eq!(status, Status::Ready, "{out}");
        assert!(!out.contains("+ ip link add"), "{out}");
        let (_, out) = netsetup(&namespace, &fake, "--undo");
        let given_back = namespace.run(|| Machine::look().unwrap());
        let dummy = given_back
            .interfaces()
            .iter()
            .find(|it| it.name() == "dummy0")
            .unwrap();
        assert!(
            !dummy.is_up() && dummy.addresses().is_empty() && dummy.alias().is_none(),
            "{out}"
        );
        assert_eq!(links(&namespace).lines().count(), bare.lines().count());
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn ipv6_switched_off_for_new_interfaces_is_switched_on_for_ours() {
        let (namespace, mut fake) = (
            Namespace::new().unwrap(),
            Fake::new("off", "4194304", "4194304"),
        );
        fake.host.proc_sys = PathBuf::from("/proc/sys");
        namespace
            .set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
            .unwrap();
        let (status, out) = netsetup(&namespace, &fake, "");
        assert_eq!(status, Status::Ready, "{out}");
        assert!(out.contains("disable_ipv6=0"), "{out}");
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn without_privilege_the_commands_are_shown_with_sudo() {
        let (namespace, mut fake) = (
            Namespace::new().unwrap(),
            Fake::new("sudo", "212992", "212992"),
        );
        fake.host.privileged = false;
        let bare = links(&namespace);
        let (status, out) = netsetup(&namespace, &fake, "");
        assert_eq!(status, Status::NotReady, "{out}");
        assert!(
            out.contains("  sudo ip link add name dummy0 type dummy\n"),
            "{out}"
        );
        assert!(
            out.contains("  sudo sysctl -w net.core.rmem_max=2097152\n"),
            "{out}"
        );
        assert_eq!(links(&namespace), bare);
        assert_eq!(fake.buffers(), ["212992", "212992"]);
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn settings_that_a_namespace_hides_are_said_and_left() {
        let (namespace, fake) = (
            Namespace::new().unwrap(),
            Fake::new("hidden", "212992", "212992"),
        );
        namespace.bridge("br0").unwrap();
        fs::remove_file(fake.host.proc_sys.join("net/core/rmem_max")).unwrap();
        let default = fake.host.proc_sys.join("net/core/rmem_default");
        let mut read_only = fs::metadata(&default).unwrap().permissions();
        read_only.set_readonly(true);
        fs::set_permissions(&default, read_only).unwrap();
        let (status, out) = netsetup(&namespace, &fake, "");
        assert_eq!(status, Status::Ready, "{out}");
        assert!(out.contains("net.core.rmem_max is not visible"), "{out}");
        assert!(
            out.contains("net.core.rmem_default is read-only here"),
            "{out}"
        );
        assert_eq!(netsetup(&namespace, &fake, "--check").0, Status::Ready);
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for arguments in [
            "--check --undo",
            "--check --persist",
            "--undo --persist",
            "--force",
        ] {
            assert!(
                Options::parse(arguments.split(' ')).is_err(),
                "{arguments:?}"
            );
        }
        let both = Options::parse(["--dry-run", "--persist"]).unwrap();
        assert!(both.persist);
    }
}
