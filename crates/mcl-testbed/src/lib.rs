//! Private network namespaces for the tests of MCL.
//!
//! A [`Namespace`] is an empty network of its own: only `lo`, brought up. Code
//! runs inside it with [`Namespace::run`]; sockets opened there, threads spawned
//! there and child processes started there belong to it. Two of them are joined
//! by a virtual cable with [`Namespace::veth`]; [`Namespace::bridge`] makes an
//! interface that needs no peer; a [`Forwarder`] is a cable that loses, doubles,
//! reorders and damages what it carries; a [`Peer`] is a child process of a test, and
//! [`SplitMix64`] gives random numbers that a seed repeats. Nothing of the host's network is touched, and
//! the namespace is gone when its handle and the last of its sockets are.
//!
//! Making one needs `CAP_SYS_ADMIN`, which `cargo xtask test` gets without root
//! by running the suite inside `unshare -rn`. Tests that need it carry
//! `#[ignore = "needs a private network namespace: cargo xtask test"]`.
//!
//! ```no_run
//! use mcl_testbed::Namespace;
//!
//! let (left, right) = (Namespace::new()?, Namespace::new()?);
//! Namespace::veth(&left, "v0", &right, "v1")?;
//! let socket = right.run(|| std::net::UdpSocket::bind("[::]:26000"))?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Inside `unshare -rn`, `/sys` shows the host's interfaces, `/proc/net` those of
//! the thread group's leader, and `ip netns add` fails. What follows the calling
//! thread is `ip`, netlink, `/proc/thread-self/net` and `/proc/sys/net`.

mod faults;
mod forwarder;
mod packet_socket;
mod peer;
mod splitmix;

pub use faults::{Direction, FaultCounts, Faults};
pub use forwarder::Forwarder;
pub use peer::{Peer, Watchdog, ask, role, tell};
pub use splitmix::SplitMix64;

use std::fs::{self, File};
use std::io;
use std::panic;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};

/// How long an interface may take to get a usable link-local address: duplicate
/// address detection ends within 1.9 s, carrier detection within 1 s more.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// How often the interface is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Whether new addresses go through duplicate address detection (RFC 4862 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dad {
    /// Addresses are tentative for 1.4 to 1.9 s; nothing waits for them.
    On,
    /// Addresses are usable at once, and are waited for.
    Off,
}

impl Dad {
    fn sysctl(self) -> &'static str {
        match self {
            Self::On => "1",
            Self::Off => "0",
        }
    }
}

/// Whether this process may make network namespaces, and if not, why.
///
/// # Errors
/// Says which call failed and what to do about it.
pub fn available() -> Result<(), String> {
    Namespace::new().map(drop).map_err(|error| {
        format!(
            "no private network namespace: {error}; run `cargo xtask test`, or this program inside `unshare -rn`"
        )
    })
}

/// A private network namespace; closed when dropped.
#[derive(Debug)]
pub struct Namespace {
    // The open file is what keeps the namespace alive.
    handle: File,
}

impl Namespace {
    /// Makes an empty namespace with `lo` up.
    ///
    /// # Errors
    /// The system refuses it to this user, or `ip` is missing.
    pub fn new() -> io::Result<Self> {
        let handle = in_scratch_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| explain("unshare(CLONE_NEWNET)", errno.into()))?;
            File::open("/proc/thread-self/ns/net")
        })?;
        let namespace = Self { handle };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Runs `work` in a thread inside the namespace and returns what it returns.
    ///
    /// # Panics
    /// With the panic of `work`, or when the thread cannot enter the namespace.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        in_scratch_thread(|| {
            setns(&self.handle, CloneFlags::CLONE_NEWNET)
                .expect("a thread enters the namespace that its process made");
            work()
        })
    }

    /// Runs a program inside the namespace to its end, its input empty.
    ///
    /// # Errors
    /// It cannot be started, or it fails: then the error holds its standard error.
    pub fn command(&self, program: &str, arguments: &[&str]) -> io::Result<Output> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let line = || format!("{program} {}", arguments.join(" "));
        let output = self
            .run(|| command.output())
            .map_err(|error| explain(&line(), error))?;
        if output.status.success() {
            return Ok(output);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!(
            "{}: {}: {}",
            line(),
            output.status,
            stderr.trim()
        )))
    }

    /// Starts `command` inside the namespace and does not wait for it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.run(|| command.spawn())
    }

    /// Runs `ip` with these arguments and returns what it printed.
    ///
    /// # Errors
    /// As [`Namespace::command`].
    pub fn ip(&self, arguments: &[&str]) -> io::Result<String> {
        let output = self.command("ip", arguments)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Reads a setting below `/proc/sys`, such as `net/ipv6/conf/v0/accept_dad`.
    ///
    /// # Errors
    /// It does not exist in this namespace.
    pub fn sysctl(&self, name: &str) -> io::Result<String> {
        let path = format!("/proc/sys/{name}");
        let value = self.run(|| fs::read_to_string(&path));
        value
            .map(|value| value.trim().to_owned())
            .map_err(|error| explain(&path, error))
    }

    /// Writes a setting below `/proc/sys`, such as `net/ipv6/conf/v0/disable_ipv6`.
    ///
    /// # Errors
    /// It does not exist in this namespace, or may not be written.
    pub fn set_sysctl(&self, name: &str, value: &str) -> io::Result<()> {
        let path = format!("/proc/sys/{name}");
        self.run(|| fs::write(&path, value))
            .map_err(|error| explain(&path, error))
    }

    /// A counter of IPv6 and its UDP in this namespace, such as `Udp6InCsumErrors`.
    ///
    /// # Errors
    /// The kernel has no such counter.
    pub fn snmp6(&self, counter: &str) -> io::Result<u64> {
        let path = "/proc/thread-self/net/snmp6";
        let table = self.run(|| fs::read_to_string(path))?;
        let mut pairs = table
            .lines()
            .filter_map(|it| it.split_once(char::is_whitespace));
        pairs
            .find(|(name, _)| *name == counter)
            .and_then(|(_, value)| value.trim().parse().ok())
            .ok_or_else(|| io::Error::other(format!("no {counter} in {path}")))
    }

    /// A counter of UDP in this namespace that is kept for IPv4, such as
    /// `InCsumErrors`. Linux counts a datagram of IPv6 there if it was `poll` that
    /// found its checksum to be wrong, and with IPv6 if it was `recv`.
    ///
    /// # Errors
    /// The kernel has no such counter.
    pub fn snmp_udp(&self, counter: &str) -> io::Result<u64> {
        let path = "/proc/thread-self/net/snmp";
        let table = self.run(|| fs::read_to_string(path))?;
        // A line of names, and one of values.
        let mut lines = table.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = (lines.next(), lines.next());
        let pairs = names.into_iter().flat_map(str::split_whitespace);
        let mut pairs = pairs.zip(values.into_iter().flat_map(str::split_whitespace));
        pairs
            .find(|(name, _)| *name == counter)
            .and_then(|(_, value)| value.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no {counter} of UDP in {path}")))
    }

    /// The interface index of `name` in this namespace.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn index(&self, name: &str) -> io::Result<u32> {
        // "3: v0@if2: <BROADCAST,...": the first word is the index.
        let line = self.ip(&["-o", "link", "show", "dev", name])?;
        let index = line.split(':').next().map(str::trim).unwrap_or_default();
        index
            .parse()
            .map_err(|_| io::Error::other(format!("`ip link` printed {line:?}")))
    }

    /// Joins two namespaces by a virtual cable, both ends up, their link-local
    /// addresses usable.
    ///
    /// # Errors
    /// `ip` fails, or an address is not usable within 10 s.
    pub fn veth(left: &Self, left_name: &str, right: &Self, right_name: &str) -> io::Result<()> {
        Self::veth_with(Dad::Off, left, left_name, right, right_name)
    }

    /// As [`Namespace::veth`]; with [`Dad::On`] the addresses are still tentative
    /// when it returns.
    ///
    /// # Errors
    /// As [`Namespace::veth`].
    pub fn veth_with(
        dad: Dad,
        left: &Self,
        left_name: &str,
        right: &Self,
        right_name: &str,
    ) -> io::Result<()> {
        left.veth_down(left_name, right, right_name)?;
        left.bring_up(left_name, dad)?;
        right.bring_up(right_name, dad)?;
        if dad == Dad::Off {
            left.wait_until_ready(left_name)?;
            right.wait_until_ready(right_name)?;
        }
        Ok(())
    }

    /// Makes a virtual cable and leaves both of its ends down.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn veth_down(&self, name: &str, peer: &Self, peer_name: &str) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        // A path is the name under which `ip` finds a namespace without
        // /run/netns; the leading process is this one, whose files threads share.
        let path = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            peer.handle.as_raw_fd()
        );
        self.ip(&[
            "link", "add", name, "type", "veth", "peer", "name", peer_name, "netns", &path,
        ])?;
        Ok(())
    }

    /// Makes a bridge without ports: an interface that carries multicast between
    /// the sockets of this namespace, up, its link-local address usable.
    ///
    /// # Errors
    /// As [`Namespace::veth`].
    pub fn bridge(&self, name: &str) -> io::Result<()> {
        self.bridge_with(Dad::Off, name)
    }

    /// As [`Namespace::bridge`]; with [`Dad::On`] the address is still tentative
    /// when it returns.
    ///
    /// # Errors
    /// As [`Namespace::veth`].
    pub fn bridge_with(&self, dad: Dad, name: &str) -> io::Result<()> {
        self.ip(&["link", "add", name, "type", "bridge"])?;
        self.bring_up(name, dad)?;
        match dad {
            Dad::On => Ok(()),
            Dad::Off => self.wait_until_ready(name),
        }
    }

    fn bring_up(&self, name: &str, dad: Dad) -> io::Result<()> {
        // The larger of `all` and the interface's own value holds.
        self.set_sysctl("net/ipv6/conf/all/accept_dad", "0")?;
        let setting = format!("net/ipv6/conf/{name}/accept_dad");
        self.set_sysctl(&setting, dad.sysctl())?;
        self.ip(&["link", "set", name, "up"])?;
        Ok(())
    }

    /// Waits until the link-local address of `name` is there and not tentative.
    ///
    /// # Errors
    /// It is not within 10 s; the error shows what `ip` says about the interface.
    pub fn wait_until_ready(&self, name: &str) -> io::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let addresses = self.ip(&["-6", "-o", "addr", "show", "dev", name])?;
            if addresses.lines().any(is_ready) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("{name} has no usable link-local address: {addresses:?}"),
                ));
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// Whether a line of `ip -6 -o addr` shows a link-local address that can be used.
fn is_ready(line: &str) -> bool {
    line.contains("scope link") && !line.contains("tentative") && !line.contains("dadfailed")
}

fn explain(step: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{step}: {error}"))
}

/// Runs `work` in a thread of its own, because the network namespace is a property
/// of a thread, and raises its panic here.
fn in_scratch_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(payload) => panic::resume_unwind(payload),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn a_namespace_starts_with_nothing_but_lo_and_hides_what_it_holds() {
        let (one, two) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        assert_eq!(one.ip(&["-o", "link"]).unwrap().lines().count(), 1);
        one.bridge("br0").unwrap();
        assert!(one.index("br0").unwrap() > 1);
        let error = two.index("br0").unwrap_err().to_string();
        assert!(error.contains("does not exist"), "{error}");
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn sockets_threads_and_children_belong_to_the_namespace() {
        let namespace = Namespace::new().unwrap();
        namespace.bridge("only-here").unwrap();
        let own = || fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        assert!(namespace.run(own).contains("only-here"));
        assert!(!own().contains("only-here"));
        let grandchild = namespace.run(|| thread::spawn(own)).join().unwrap();
        assert!(grandchild.contains("only-here"));
        let child = namespace.command("cat", &["/proc/self/net/dev"]).unwrap();
        assert!(String::from_utf8_lossy(&child.stdout).contains("only-here"));
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn a_veth_pair_joins_two_namespaces_under_one_name() {
        let (one, two) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        Namespace::veth(&one, "v0", &two, "v0").unwrap();
        two.ip(&["addr", "add", "fd34::2/64", "dev", "v0", "nodad"])
            .unwrap();
        one.ip(&["addr", "add", "fd34::1/64", "dev", "v0", "nodad"])
            .unwrap();
        let listener = two.run(|| std::net::TcpListener::bind("[fd34::2]:0").unwrap());
        let to = listener.local_addr().unwrap();
        one.run(|| std::net::TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap());
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn duplicate_address_detection_is_on_where_asked_for() {
        let namespace = Namespace::new().unwrap();
        namespace.bridge_with(Dad::On, "br0").unwrap();
        let addresses = namespace.ip(&["-6", "addr", "show", "dev", "br0"]).unwrap();
        assert!(addresses.contains("tentative"), "{addresses}");
        namespace.wait_until_ready("br0").unwrap();
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn a_panic_inside_is_raised_outside() {
        let namespace = Namespace::new().unwrap();
        let caught = panic::catch_unwind(|| namespace.run(|| panic!("inside"))).unwrap_err();
        assert_eq!(caught.downcast_ref(), Some(&"inside"));
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn a_failing_command_says_what_it_said() {
        let namespace = Namespace::new().unwrap();
        let error = namespace.ip(&["link", "set", "nope", "up"]).unwrap_err();
        assert!(error.to_string().contains("Cannot find device"), "{error}");
    }

    #[test]
    fn a_refusal_names_the_remedy() {
        if let Err(why) = available() {
            assert!(why.contains("cargo xtask test"), "{why}");
        }
    }

    #[test]
    fn readiness_is_read_from_the_address_line() {
        let line = "2: v0    inet6 fe80::1/64 scope link \\       valid_lft forever";
        assert!(is_ready(line));
        assert!(!is_ready(&line.replace("link ", "link tentative ")));
        assert!(!is_ready(
            &line.replace("link ", "link dadfailed tentative ")
        ));
        assert!(!is_ready(
            "2: v0    inet6 fd34::1/64 scope global \\       valid_lft"
        ));
    }
}
