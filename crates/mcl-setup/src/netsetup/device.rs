//! The interface that netsetup makes where none is usable.
//!
//! It carries an alias (`ip link set alias`), by which a later run recognises it:
//! the mark lives and dies with the interface, so that nothing else has to be kept.

use std::io;

use mcl_net::{Interface, Machine};

use super::{Error, Host};
use crate::command::{Mode, Shell};

const ADDRESS: &str = "fd34::1/64";

/// Marks what was made, to be deleted again.
const MADE: &str = "mcl-netsetup";

/// Marks what was there unused, to be switched off again.
const ADOPTED: &str = "mcl-netsetup-adopted";

/// Like [`ADOPTED`], when the multicast flag was on before.
const ADOPTED_MULTICAST: &str = "mcl-netsetup-adopted-multicast";

/// Kinds of interface that carry multicast between the processes of a machine, the
/// plainest first: its name and the commands that make it.
const KINDS: [(&str, &str, &[&str]); 4] = [
    ("dummy", "dummy0", &["ip link add name dummy0 type dummy"]),
    ("bridge", "mcl0", &["ip link add name mcl0 type bridge"]),
    (
        "veth",
        "mcl0",
        &[
            "ip link add name mcl0 type veth peer name mcl0peer",
            "ip link set dev mcl0peer up",
        ],
    ),
    ("tap", "mcl0", &["ip tuntap add dev mcl0 mode tap"]),
];

/// Makes an interface usable that is ours or nobody's, or makes a new one.
pub(super) fn make(machine: &Machine, host: &Host, shell: &mut Shell<'_>) -> Result<(), Error> {
    if let Some(ours) = machine.interfaces().iter().find(|it| mark(it).is_some()) {
        return Ok(bring_up(ours.name(), host, shell)?);
    }
    if let Some(idle) = machine.interfaces().iter().find(|it| is_idle_dummy(it)) {
        let alias = match idle.is_multicast() {
            true => ADOPTED_MULTICAST,
            false => ADOPTED,
        };
        shell.run(&format!("ip link set dev {} alias {alias}", idle.name()))?;
        return Ok(bring_up(idle.name(), host, shell)?);
    }
    let name = add(machine, shell)?;
    shell.run(&format!("ip link set dev {name} alias {MADE}"))?;
    Ok(bring_up(name, host, shell)?)
}

/// The dummy0 that loading the module makes, and nobody uses.
fn is_idle_dummy(interface: &Interface) -> bool {
    interface.name() == "dummy0"
        && !interface.is_up()
        && interface.addresses().is_empty()
        && interface.alias().is_none()
        // What would have to be switched on would have to be taken back.
        && !interface.ipv6_disabled()
}

/// Adds an interface of the first kind that the kernel has; returns its name.
fn add(machine: &Machine, shell: &mut Shell<'_>) -> Result<&'static str, Error> {
    let taken = |name: &str| machine.interfaces().iter().any(|it| it.name() == name);
    if !std::path::Path::new("/sys/module/dummy").exists() {
        // Without numdummies=0 the module makes a dummy0 of its own.
        if let Err(error) = shell.run("modprobe dummy numdummies=0") {
            shell.say(format!("    {error}; the kernel may have it built in"))?;
        }
    }
    for (kind, name, commands) in KINDS {
        if taken(name) {
            shell.say(format!("    {name} exists already, and is in use"))?;
            continue;
        }
        match commands.iter().try_for_each(|command| shell.run(command)) {
            Ok(()) => {
                if shell.mode() != Mode::Run {
                    shell.say("    (where the kernel has no dummy device: a bridge, veth pair or tap device mcl0)")?;
                }
                return Ok(name);
            }
            Err(error) => shell.say(format!("    no {kind} device: {error}"))?,
        }
    }
    Err(Error::NoDevice)
}

fn bring_up(name: &str, host: &Host, shell: &mut Shell<'_>) -> io::Result<()> {
    let disabled = host
        .proc_sys
        .join(format!("net/ipv6/conf/{name}/disable_ipv6"));
    if std::fs::read_to_string(&disabled).is_ok_and(|value| value.trim() != "0") {
        let shown = format!("sysctl -w net/ipv6/conf/{name}/disable_ipv6=0");
        shell.write(&shown, &disabled, "0")?;
    }
    shell.run(&format!("ip link set dev {name} multicast on up"))?;
    // Nobody else can have the address where no wire leads.
    shell.run(&format!("ip address replace {ADDRESS} dev {name} nodad"))
}

/// Takes back every interface that carries our mark.
pub(super) fn unmake(machine: &Machine, shell: &mut Shell<'_>) -> io::Result<()> {
    for interface in machine.interfaces() {
        let name = interface.name();
        match mark(interface) {
            Some(Mark::Made) => shell.run(&format!("ip link del dev {name}"))?,
            Some(Mark::Adopted { multicast }) => {
                let flag = if multicast { "on" } else { "off" };
                shell.run(&format!("ip address del {ADDRESS} dev {name}"))?;
                shell.run(&format!("ip link set dev {name} multicast {flag} down"))?;
                shell.run(&format!("ip link set dev {name} alias "))?;
            }
            None => {}
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Made,
    Adopted { multicast: bool },
}

fn mark(interface: &Interface) -> Option<Mark> {
    match interface.alias()? {
        MADE => Some(Mark::Made),
        ADOPTED => Some(Mark::Adopted { multicast: false }),
        ADOPTED_MULTICAST => Some(Mark::Adopted { multicast: true }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netsetup::Host;
    use mcl_net::self_test;
    use mcl_testbed::Namespace;

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn every_kind_of_interface_that_the_kernel_makes_carries_a_datagram() {
        let mut carried = Vec::new();
        for (kind, name, commands) in KINDS {
            let namespace = Namespace::new().unwrap();
            namespace.run(|| {
                let mut out = Vec::new();
                let mut shell = Shell::new(&mut out, Mode::Run);
                if let Err(error) = commands.iter().try_for_each(|it| shell.run(it)) {
                    return println!("no {kind}: {error}");
                }
                shell
                    .run(&format!("ip link set dev {name} alias {MADE}"))
                    .unwrap();
                bring_up(name, &Host::this(), &mut shell).unwrap();
                let machine = Machine::look().unwrap();
                let made = machine.interfaces().iter().find(|it| it.name() == name);
                self_test(made.unwrap()).unwrap();
                unmake(&machine, &mut shell).unwrap();
                assert_eq!(Machine::look().unwrap().interfaces().len(), 1, "{kind}");
                carried.push(kind);
            });
        }
        println!("carried a datagram: {}", carried.join(", "));
        assert!(!carried.is_empty());
    }
}
