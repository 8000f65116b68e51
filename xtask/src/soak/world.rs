//! Two hosts with a cable between them that does what it is told, and what each fault
//! does to it.

use std::io;

use mcl_testbed::{Direction, FaultCounts, Faults, Forwarder, Namespace};
use serde::Serialize;

use super::roles::Host;
use super::schedule::Fault;

/// The interface that each host has.
pub(super) const INTERFACE: &str = "v0";

#[derive(Debug)]
pub(super) struct World {
    left: Namespace,
    right: Namespace,
    /// `None` while the interfaces are gone.
    cable: Option<Forwarder>,
    seed: u64,
    fault: Fault,
    /// What cables did that are no more.
    earlier: Inflicted,
}

/// What was done to datagrams on their way, both ways together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Inflicted {
    pub(super) datagrams: u64,
    pub(super) lost: u64,
    pub(super) partitioned: u64,
    pub(super) corrupted: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    /// Lost because the cable was too slow.
    pub(super) overflowed: u64,
    /// Datagrams whose checksum a host's kernel found wrong.
    pub(super) checksum_errors: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> io::Result<Self> {
        let mut world = Self {
            left: Namespace::new()?,
            right: Namespace::new()?,
            cable: None,
            seed,
            fault: Fault::Clean,
            earlier: Inflicted::default(),
        };
        world.lay_cable()?;
        Ok(world)
    }

    /// Makes the interfaces of both hosts, under new indices.
    fn lay_cable(&mut self) -> io::Result<()> {
        self.seed += 1;
        let ends = (&self.left, &self.right);
        let cable = Forwarder::between(ends.0, INTERFACE, ends.1, INTERFACE, self.seed)?;
        self.cable = Some(cable);
        Ok(())
    }

    pub(super) fn host(&self, host: Host) -> &Namespace {
        match host {
            Host::Left => &self.left,
            Host::Right => &self.right,
        }
    }

    /// From now on, this fault and no other. A stopped listener is not the network's.
    pub(super) fn inflict(&mut self, fault: Fault) -> io::Result<()> {
        match std::mem::replace(&mut self.fault, fault) {
            Fault::LinkDown => self.links("up")?,
            Fault::LinkGone => self.lay_cable()?,
            _ => {}
        }
        if let Some(cable) = &self.cable {
            cable.set(faults(fault));
        }
        match fault {
            Fault::LinkDown => self.links("down"),
            Fault::LinkGone => {
                self.remove_cable();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn links(&self, to: &str) -> io::Result<()> {
        for host in [&self.left, &self.right] {
            host.ip(&["link", "set", INTERFACE, to])?;
        }
        Ok(())
    }

    fn remove_cable(&mut self) {
        if let Some(cable) = self.cable.take() {
            for direction in [Direction::Right, Direction::Left] {
                self.earlier.add(&cable.counts(direction));
            }
        }
    }

    /// Counts what was done; all traffic has ended.
    pub(super) fn inflicted(&self) -> io::Result<Inflicted> {
        let mut sum = self.earlier;
        if let Some(cable) = &self.cable {
            for direction in [Direction::Right, Direction::Left] {
                sum.add(&cable.settle(direction)?);
            }
        }
        for host in [&self.left, &self.right] {
            sum.checksum_errors += host.snmp6("Udp6InCsumErrors")?;
        }
        Ok(sum)
    }
}

impl Inflicted {
    fn add(&mut self, counts: &FaultCounts) {
        self.datagrams += counts.taken;
        self.lost += counts.lost;
        self.partitioned += counts.partitioned;
        self.corrupted += counts.corrupted + counts.corrupted_anywhere;
        self.duplicated += counts.duplicated + counts.duplicated_late;
        self.reordered += counts.reordered;
        self.overflowed += counts.overflowed;
    }
}

fn faults(fault: Fault) -> Faults {
    match fault {
        Fault::Clean | Fault::Stopped | Fault::LinkDown | Fault::LinkGone => Faults::default(),
        Fault::Loss => Faults {
            loss: 0.01,
            ..Faults::default()
        },
        Fault::Disorder => Faults {
            duplicate: 0.02,
            duplicate_late: 0.02,
            reorder: 0.02,
            hold: 8,
            ..Faults::default()
        },
        Fault::Corruption => Faults {
            corrupt: 0.01,
            ..Faults::default()
        },
        Fault::Partition => Faults {
            partition: true,
            ..Faults::default()
        },
        Fault::Storm => Faults {
            loss: 0.01,
            corrupt: 0.01,
            duplicate: 0.01,
            duplicate_late: 0.01,
            reorder: 0.01,
            hold: 4,
            ..Faults::default()
        },
    }
}
