//! Hosts, cables and sockets.

use std::io::IoSlice;
use std::time::{Duration, Instant};

use mcl_net::{
    Blocking, Group, Interface, Receiver, ReceiverOptions, SendError, Sender, SenderOptions,
    TrainBuffer, Wait,
};
use mcl_testbed::Namespace;

/// Longer than anything on a virtual cable takes, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn group(address: &str) -> Group {
    Group::new(address.parse().unwrap(), 26000).unwrap()
}

/// A network of its own, with its sockets.
pub(crate) struct Host(pub(crate) Namespace);

impl Host {
    pub(crate) fn new() -> Self {
        Self(Namespace::new().unwrap())
    }

    /// Two hosts and a cable between them, `v0` at both ends.
    pub(crate) fn pair() -> (Self, Self) {
        let (one, two) = (Self::new(), Self::new());
        Namespace::veth(&one.0, "v0", &two.0, "v0").unwrap();
        (one, two)
    }

    pub(crate) fn interface(&self, name: &str) -> Interface {
        let index = self.0.index(name).unwrap().try_into().unwrap();
        self.0.run(|| Interface::by_index(index).unwrap())
    }

    pub(crate) fn receiver(&self, name: &str, group: Group) -> Receiver {
        self.receiver_with(name, group, &ReceiverOptions::default())
    }

    pub(crate) fn receiver_with(
        &self,
        name: &str,
        group: Group,
        options: &ReceiverOptions,
    ) -> Receiver {
        let interface = self.interface(name);
        let open = || Receiver::open(group, &interface, options).unwrap();
        self.0.run(open)
    }

    pub(crate) fn sender(&self, name: &str, group: Group) -> Sender {
        self.sender_with(name, group, &SenderOptions::default())
    }

    pub(crate) fn sender_with(&self, name: &str, group: Group, options: &SenderOptions) -> Sender {
        let interface = self.interface(name);
        self.0
            .run(|| Sender::open(group, &interface, options).unwrap())
    }

    /// Sends the bytes, cut into datagrams of `len` bytes.
    pub(crate) fn send_train(
        &self,
        sender: &mut Sender,
        bytes: &[u8],
        len: usize,
    ) -> Result<(), SendError> {
        let slices = [IoSlice::new(bytes)];
        self.0
            .run(|| sender.send_train(&slices, len, Blocking::Yes))
    }

    /// Sends one datagram.
    pub(crate) fn send(&self, sender: &mut Sender, datagram: &[u8]) {
        let len = datagram.len();
        self.send_train(sender, datagram, len).unwrap();
    }
}

/// The datagrams up to and with the first that is `last`, in order of arrival.
pub(crate) fn until(receiver: &mut Receiver, last: &[u8]) -> Vec<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let mut train = TrainBuffer::new();
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    while Instant::now() < deadline {
        receiver.recv(&mut train, Wait::Until(deadline)).unwrap();
        datagrams.extend(train.datagrams().map(<[u8]>::to_vec));
        if datagrams.iter().any(|datagram| datagram == last) {
            return datagrams;
        }
    }
    let lens: Vec<usize> = datagrams.iter().map(Vec::len).collect();
    panic!("the last datagram did not arrive; datagrams of {lens:?} bytes did");
}

/// What `until` returns, as text.
pub(crate) fn texts_until(receiver: &mut Receiver, last: &str) -> Vec<String> {
    let datagrams = until(receiver, last.as_bytes()).into_iter();
    datagrams
        .map(|datagram| String::from_utf8(datagram).unwrap())
        .collect()
}
