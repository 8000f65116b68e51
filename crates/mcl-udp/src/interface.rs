//! The interface of a listener or a broadcaster: which, whether it is there, and
//! what became of it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use mcl_net::{ChooseError, Finder, Interface};
use serde::{Deserialize, Serialize};

use crate::connection::{Connection, interface_from_env};
use crate::error::OpenError;
use crate::events::{Event, Events, Hub};
use crate::sync::lock;
use crate::trace::LinkTrace;

/// What a listener or broadcaster went through with its interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct InterfaceChanges {
    /// How often it went away, or could not carry multicast any more.
    pub lost: u64,
    /// How often it was there again; the first time as well, if it was awaited.
    pub back: u64,
    /// How often the group was joined anew, or sending went on over another index: the
    /// interface had been deleted, or changed in a way that ends memberships.
    pub rejoined: u64,
    /// How often looking for it, or joining on it, failed, and was tried again later.
    pub failed: u64,
}

/// What opening does where there is no usable interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Await {
    /// It fails.
    #[default]
    Nothing,
    /// It waits so long for one, then fails.
    Blocking(Duration),
    /// It goes on without, and takes the interface when it appears.
    Later,
}

/// What finds the connection's interface, else the environment's, else the system's
/// choice.
pub(crate) fn finder(connection: &Connection) -> Finder {
    let named = connection.interface().cloned();
    let choice = named.or_else(interface_from_env).unwrap_or_default();
    Finder::new(choice, connection.group())
}

/// The interface to open on; `None` if it is to be taken when it appears.
pub(crate) fn pick(finder: &mut Finder, how: Await) -> Result<Option<Interface>, OpenError> {
    match how {
        Await::Nothing => Ok(Some(finder.find()?)),
        Await::Blocking(time) => {
            let deadline = Instant::now().checked_add(time);
            // What no clock can tell is as good as never.
            let deadline = deadline.unwrap_or_else(|| Instant::now() + A_YEAR);
            Ok(Some(finder.wait(deadline)?))
        }
        Await::Later => Ok(finder.find().ok()),
    }
}

const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Where a listener or broadcaster is, for all its threads and handles.
#[derive(Debug, Default)]
pub(crate) struct Place {
    state: Mutex<State>,
    hub: Hub,
    link: LinkTrace,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Interface>,
    /// How it is called while it is away.
    name: String,
    changes: InterfaceChanges,
}

impl Place {
    pub(crate) fn new(finder: &Finder, current: Option<Interface>) -> Self {
        let name = match &current {
            Some(interface) => interface.name().to_owned(),
            None => finder.choice().to_string(),
        };
        let state = State {
            current,
            name,
            changes: InterfaceChanges::default(),
        };
        Self {
            state: Mutex::new(state),
            hub: Hub::default(),
            link: LinkTrace::default(),
        }
    }

    /// The interface, unless it is away.
    pub(crate) fn current(&self) -> Option<Interface> {
        lock(&self.state).current.clone()
    }

    pub(crate) fn is_there(&self) -> bool {
        lock(&self.state).current.is_some()
    }

    pub(crate) fn changes(&self) -> InterfaceChanges {
        lock(&self.state).changes
    }

    pub(crate) fn failed(&self) {
        lock(&self.state).changes.failed += 1;
    }

    /// It is away, and was not before.
    pub(crate) fn lost(&self, reason: String, remedy: Vec<String>) {
        let mut state = lock(&self.state);
        if let Some(was) = state.current.take() {
            state.name = was.name().to_owned();
            state.changes.lost += 1;
            self.tell_lost(&state, reason, remedy);
        }
    }

    /// Tells `tracing` what happened: to be called without any lock.
    pub(crate) fn tell(&self) {
        self.link.tell();
    }

    pub(crate) fn refused(&self, error: &ChooseError) {
        self.lost(error.refusal().to_string(), error.remedy());
    }

    /// It is there, as it is now; taken anew or not.
    pub(crate) fn found(&self, interface: Interface, rejoined: bool) {
        let mut state = lock(&self.state);
        let was_there = state.current.is_some();
        state.changes.rejoined += u64::from(rejoined);
        if was_there && rejoined {
            state.changes.lost += 1;
            let reason = "it was replaced, and is there again".to_owned();
            self.tell_lost(&state, reason, Vec::new());
        }
        state.current = Some(interface.clone());
        if rejoined || !was_there {
            state.changes.back += 1;
            self.link.back(Instant::now(), interface.name());
            self.hub.post(|| Event::InterfaceBack {
                interface,
                rejoined,
            });
        }
    }

    // Under the lock, so that events come in the order of what they tell.
    fn tell_lost(&self, state: &State, reason: String, remedy: Vec<String>) {
        self.link.lost(Instant::now(), &state.name, &reason);
        self.hub.post(|| Event::InterfaceLost {
            interface: state.name.clone(),
            reason,
            remedy,
        });
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(crate) fn events(&self) -> Events {
        self.hub.events()
    }
}
