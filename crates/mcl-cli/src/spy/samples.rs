//! Models for the tests of what is shown.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcl_udp::{Account, Encoding, Payload, StreamId, Topic};
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

use super::model::{Action, Model};
use super::sources::{HISTORY, Key, Last, Row, Snapshot, Status};
use crate::sampling::{Figures, Spread};

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_795_388_076_199)
}

fn spread(values: &[f64]) -> Spread {
    let mut spread = Spread::NONE;
    values.iter().for_each(|&value| spread.add(value));
    spread
}

fn row(topic: Option<&str>, stream: u64, rate: f64, sizes: &[f64], latencies: &[f64]) -> Row {
    let wave = |at: usize| (rate * (1.0 + (at as f64 / 8.0).sin() / 2.0)) as f32;
    let last = now() - Duration::from_millis(stream * 100);
    Row {
        key: Key {
            topic: topic.map(Topic::from),
            connection: 0,
            stream: StreamId(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        },
        sender: SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7), 57713, 0, 2),
        encoding: Encoding::RAW,
        last,
        messages: 12_345,
        bytes: 1_234_567,
        figures: Figures {
            sizes: spread(sizes),
            intervals: spread(&[0.8 / rate.max(0.1), 1.2 / rate.max(0.1)]),
            latencies: spread(latencies),
            rate,
        },
        account: Some(Account::default()),
        history: (0..HISTORY).map(wave).collect(),
        message: None,
    }
}

fn last(payload: &[u8], size: usize, published: Option<SystemTime>) -> Last {
    Last {
        payload: Payload::from(payload.to_vec()),
        size,
        number: 12_344,
        published,
        interface: NonZeroU32::new(2),
        schema: Some(0xbeef),
    }
}

fn status(name: &str) -> Status {
    Status {
        name: name.to_owned(),
        interface_lost: false,
        rate: 225.0,
        bandwidth: 1.2e6,
        streams: 4,
        lost: 1273,
        kernel_drops: Some(0),
        unlisted: 0,
    }
}

fn rows() -> Vec<Row> {
    let mut camera = row(Some("camera"), 1, 10.0, &[1e5], &[0.0012, 0.0031]);
    let mut account = Account::default();
    (account.missing, account.stranded, account.expired) = (1257, 15, 1);
    camera.account = Some(account);
    // Once, long ago, and by a sender that gives no time.
    let mut config = row(Some("config/of/日本語/long"), 2, 0.0, &[], &[]);
    config.last = now() - Duration::from_secs(4000);
    config.history = vec![0.0; HISTORY];
    config.figures.intervals = Spread::NONE;
    let text = "colour = grün\n".repeat(180);
    config.message = Some(last(&text.as_bytes()[..2048], text.len(), None));
    config.account = None;
    let mut imu = row(Some("imu"), 3, 200.0, &[1000.0], &[-0.0123, -0.0101]);
    imu.encoding = Encoding::JSON;
    let json = br#"{"acceleration": [0.0, 0.0, 9.81], "angular_rate": [0.1, 0.0, 0.0]}"#;
    let published = imu.last + Duration::from_micros(11_200);
    imu.message = Some(last(json, json.len(), Some(published)));
    let mut pose = row(Some("pose"), 4, 14.96, &[23.0, 46.0], &[23e-6]);
    pose.key.connection = 1;
    let without = row(None, 5, 1.0, &[12_000.0], &[0.25]);
    vec![without, camera, config, imu, pose]
}

/// Five rows of one connection.
pub(super) fn snapshot() -> Snapshot {
    let mut rows = rows();
    rows.iter_mut().for_each(|row| row.key.connection = 0);
    Snapshot {
        time: now(),
        connections: vec![status("[ff15::1]:26000 on br0 (index 2)")],
        rows,
    }
}

fn of(snapshot: Snapshot) -> Model {
    let mut model = Model::default();
    model.update(snapshot);
    model
}

pub(super) fn model() -> Model {
    of(snapshot())
}

/// Five connections, of which one has lost its interface.
pub(super) fn connections() -> Model {
    let mut connections = vec![status("[ff15::1]:26000 on br0 (index 2)"); 5];
    connections[1].name = "[ff15::2]:26000 on no interface".into();
    connections[1].interface_lost = true;
    connections[1].kernel_drops = Some(2657);
    connections[1].unlisted = 123_456;
    let rows = rows();
    of(Snapshot {
        time: now(),
        connections,
        rows,
    })
}

pub(super) fn many(rows: u64) -> Model {
    let of_number = |number: u64| {
        row(
            Some(&format!("topic/{number:04}")),
            number,
            1.0,
            &[1.0],
            &[],
        )
    };
    let rows = (1..=rows).map(of_number).collect();
    of(Snapshot { rows, ..snapshot() })
}

/// A row with what would steer a terminal in all that the network chooses.
pub(super) fn hostile() -> Model {
    let mut row = row(
        Some("\u{1b}]0;a\u{7}\u{202e}\u{9b}2J"),
        1,
        f64::MAX,
        &[1e308],
        &[-1e300, 1e300],
    );
    row.encoding = Encoding::JSON;
    let far = UNIX_EPOCH + Duration::from_secs(1 << 50);
    row.message = Some(last("\"\u{202e}\u{9b}2J\"".as_bytes(), 9, Some(far)));
    of(Snapshot {
        rows: vec![row],
        ..snapshot()
    })
}

/// Presses keys: a newline is Enter, `\u{1b}` Escape, `\u{8}` Backspace.
pub(super) fn press(model: &mut Model, keys: &str) -> Action {
    let mut action = Action::Nothing;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '\u{8}' => KeyCode::Backspace,
            key => KeyCode::Char(key),
        };
        action = model.event(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }
    action
}
