//! What a listener's handle, its queues and its threads share.

use std::collections::HashMap;
use std::fmt;
use std::hash::RandomState;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::{self, JoinHandle};

use mcl_net::{DropCounter, Foreign, ReceiveBuffer, Waker};
use mcl_wire::{Demux, StreamId};

use crate::statistics::ListenerStatistics;
use crate::subscription::{Outlet, Route, SubscriptionId, Tally, in_callback};
use crate::sync::{lock, read, write};

/// Where messages go; replaced as a whole, so that the receiving thread takes
/// it with one short lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routing {
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) ignored: Vec<StreamId>,
}

/// What only the receiving thread changes, and anyone may look at.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) demux: Demux<RandomState>,
    pub(crate) foreign: Foreign,
    pub(crate) crc_mismatch: u64,
    pub(crate) unclaimed: u64,
    pub(crate) receive_errors: u64,
}

pub(crate) struct Shared {
    open: AtomicBool,
    next_id: AtomicU64,
    routing: RwLock<Arc<Routing>>,
    /// Threads of callbacks by subscription.
    workers: Mutex<HashMap<SubscriptionId, JoinHandle<()>>>,
    drain: Mutex<Option<JoinHandle<()>>>,
    waker: Waker,
    core: Mutex<Core>,
    receive_buffer: ReceiveBuffer,
    drop_counter: Option<DropCounter>,
}

impl Shared {
    pub(crate) fn new(
        core: Core,
        ignored: Vec<StreamId>,
        waker: Waker,
        receive_buffer: ReceiveBuffer,
        drop_counter: Option<DropCounter>,
    ) -> Self {
        Self {
            open: AtomicBool::new(true),
            next_id: AtomicU64::new(1),
            routing: RwLock::new(Arc::new(Routing {
                routes: Vec::new(),
                ignored,
            })),
            workers: Mutex::new(HashMap::new()),
            drain: Mutex::new(None),
            waker,
            core: Mutex::new(core),
            receive_buffer,
            drop_counter,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    pub(crate) fn routing(&self) -> Arc<Routing> {
        Arc::clone(&read(&self.routing))
    }

    pub(crate) fn core(&self) -> &Mutex<Core> {
        &self.core
    }

    pub(crate) fn drained_by(&self, thread: JoinHandle<()>) {
        *lock(&self.drain) = Some(thread);
    }

    /// Adds a subscription. On a closed listener it is stopped from the start.
    pub(crate) fn subscribe(&self, outlet: Outlet, tally: Arc<Tally>) -> Arc<Route> {
        let id = SubscriptionId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let route = Arc::new(Route::new(id, outlet, tally));
        let mut routing = write(&self.routing);
        // `close` clears the routing under this lock after it lowered `open`.
        if self.is_open() {
            Arc::make_mut(&mut routing).routes.push(Arc::clone(&route));
        } else {
            route.stop();
        }
        route
    }

    /// Starts the thread that runs a callback, and remembers it for joining.
    pub(crate) fn start_worker(
        &self,
        id: SubscriptionId,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        // Under the lock, so that the callback cannot unsubscribe itself before
        // its thread is known.
        let mut workers = lock(&self.workers);
        let thread = thread::Builder::new()
            .name(format!("mcl-callback-{id}"))
            .spawn(work)?;
        if self.is_subscribed(id) {
            workers.insert(id, thread);
        }
        Ok(())
    }

    pub(crate) fn is_subscribed(&self, id: SubscriptionId) -> bool {
        read(&self.routing)
            .routes
            .iter()
            .any(|route| route.id == id)
    }

    pub(crate) fn num_subscriptions(&self) -> usize {
        read(&self.routing).routes.len()
    }

    pub(crate) fn route(&self, id: SubscriptionId) -> Option<Arc<Route>> {
        read(&self.routing)
            .routes
            .iter()
            .find(|route| route.id == id)
            .cloned()
    }

    pub(crate) fn ignore(&self, stream: StreamId) {
        let mut routing = write(&self.routing);
        if !routing.ignored.contains(&stream) {
            Arc::make_mut(&mut routing).ignored.push(stream);
        }
    }

    /// Ends a subscription; `false` if there is none of that name.
    ///
    /// Waits until its callback is not running any more, except from inside a
    /// callback: two that end each other would wait forever.
    pub(crate) fn unsubscribe(&self, id: SubscriptionId) -> bool {
        let Some(route) = self.remove(id) else {
            return false;
        };
        route.stop();
        let worker = lock(&self.workers).remove(&id);
        if !in_callback() {
            route.wait_idle();
            join(worker);
        }
        true
    }

    fn remove(&self, id: SubscriptionId) -> Option<Arc<Route>> {
        let mut routing = write(&self.routing);
        let at = routing.routes.iter().position(|route| route.id == id)?;
        Some(Arc::make_mut(&mut routing).routes.remove(at))
    }

    /// Ends everything; `true` the first time. From inside a callback it does
    /// not wait for the threads to end.
    pub(crate) fn close(&self) -> bool {
        if !self.open.swap(false, Ordering::SeqCst) {
            return false;
        }
        let routes = std::mem::take(&mut Arc::make_mut(&mut write(&self.routing)).routes);
        for route in &routes {
            route.stop();
        }
        self.waker.wake();
        let workers: Vec<_> = lock(&self.workers)
            .drain()
            .map(|(_, worker)| worker)
            .collect();
        let drain = lock(&self.drain).take();
        if !in_callback() {
            join(drain);
            workers.into_iter().for_each(|worker| join(Some(worker)));
        }
        true
    }

    pub(crate) fn statistics(&self) -> ListenerStatistics {
        let kernel_drops = self
            .drop_counter
            .as_ref()
            .and_then(|counter| counter.read().ok()?);
        let core = lock(&self.core);
        ListenerStatistics {
            wire: core.demux.counters(),
            streams: core.demux.streams().collect(),
            foreign: core.foreign,
            crc_mismatch: core.crc_mismatch,
            unclaimed: core.unclaimed,
            receive_errors: core.receive_errors,
            receive_buffer: self.receive_buffer,
            kernel_drops,
            reassembly_bytes: core.demux.allocated_bytes(),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("open", &self.is_open())
            .field("routing", &self.routing())
            .finish_non_exhaustive()
    }
}

/// Waits for a thread to end. Its panics were contained where user code ran.
///
/// A thread does not wait for itself: the last handle of a listener may be one
/// that a callback owned, and is then dropped with it, on the listener's thread.
fn join(thread: Option<JoinHandle<()>>) {
    let own = thread::current().id();
    if let Some(thread) = thread.filter(|it| it.thread().id() != own) {
        let _ = thread.join();
    }
}
