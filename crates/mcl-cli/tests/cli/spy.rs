//! `mcl spy`: typed at and read in tmux, which is a terminal without a person.

use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs, process};

use mcl_testbed::Namespace;
use mcl_udp::{Connection, RawBroadcaster};

use crate::support::{GROUP, Running, mcl, network};

const OTHER_GROUP: &str = "ff15::6d63:6d";

/// How long the screen may take to show what it should.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often in a row a screen may be caught while it changes.
const FRAMES: usize = 20;

/// A terminal of 120 columns and 30 lines with a shell in it.
struct Terminal<'a> {
    namespace: &'a Namespace,
    socket: PathBuf,
}

impl<'a> Terminal<'a> {
    fn open(namespace: &'a Namespace) -> Self {
        static OPENED: AtomicUsize = AtomicUsize::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let socket = env::temp_dir().join(format!("mcl-spy-{}-{number}", process::id()));
        let terminal = Self { namespace, socket };
        terminal.tmux(&[
            "new-session",
            "-d",
            "-x",
            "120",
            "-y",
            "30",
            "PS1='$ ' exec sh",
        ]);
        terminal.until("the prompt", |screen| screen.starts_with('$'));
        terminal
    }

    /// With `mcl spy` in it, and what it listens to.
    fn spying(namespace: &'a Namespace, arguments: &str) -> Self {
        let terminal = Self::open(namespace);
        terminal.line("echo before");
        terminal.line(&format!("{} spy {arguments}", env!("CARGO_BIN_EXE_mcl")));
        terminal.until("the screen", |screen| screen.contains("mcl spy  "));
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        tmux.args(["-u", "-f", "/dev/null", "-S"]).arg(&self.socket);
        tmux.env_remove("TMUX")
            .env_remove("ENV")
            .env_remove("MCL_INTERFACE");
        tmux.args(arguments);
        let output = self.namespace.run(|| tmux.output()).unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The screen, whole: what is captured while a frame is drawn is half of it.
    fn screen(&self) -> String {
        let mut screen = self.capture();
        for _ in 0..FRAMES {
            sleep(Duration::from_millis(5));
            let again = self.capture();
            if again == screen {
                break;
            }
            screen = again;
        }
        screen
    }

    fn capture(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Presses keys, by the names that tmux has for them.
    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.press(&["Enter"]);
    }

    fn resize(&self, width: &str, height: &str) {
        self.tmux(&["resize-window", "-x", width, "-y", height]);
    }

    fn value(&self, of: &str) -> String {
        self.tmux(&["display-message", "-p", of]).trim().to_owned()
    }

    /// Waits until the screen is as it should be.
    fn until(&self, what: &str, as_it_should_be: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if as_it_should_be(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "{what}:\n{screen}");
            sleep(Duration::from_millis(50));
        }
    }

    fn shows(&self, text: &str) -> String {
        self.until(text, |screen| screen.contains(text))
    }

    /// What the shell runs.
    fn child(&self) -> String {
        let shell = self.value("#{pane_pid}");
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
        children.unwrap().trim().to_owned()
    }

    fn signal(&self, signal: &str) {
        let kill = format!("kill {signal} {}", self.child());
        let sent = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(sent.success());
    }

    /// Processor time that it has used so far, in hundredths of a second.
    fn processor_time(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        // User and system time, proc(5).
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Judges that the terminal is the shell's again, as it was.
    fn is_given_back(&self) {
        let screen = self.shows("mcl: spy: ");
        assert!(screen.starts_with("$ echo before\nbefore\n"), "{screen}");
        assert!(
            !screen.contains("RATE/s") && !screen.contains("q quit"),
            "{screen}"
        );
        self.line("echo status $?; stty -a");
        let screen = self.until("stty", |screen| screen.contains("echoke"));
        assert!(screen.contains("status 0"), "{screen}");
        assert!(
            screen.contains(" icanon") && screen.contains(" echo "),
            "{screen}"
        );
        assert_eq!(self.value("#{alternate_on} #{cursor_flag}"), "0 1");
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let mut tmux = Command::new("tmux");
        let _ = tmux.arg("-S").arg(&self.socket).arg("kill-server").output();
        let _ = fs::remove_file(&self.socket);
    }
}

fn flow(namespace: &Namespace, topic: &str, of: &[&str], rate: &str) -> Running {
    let options = ["--topic", topic, "--rate", rate, "-q"];
    Running::start(namespace, &[&["pub", GROUP], of, &options[..]].concat())
}

/// `camera`, `imu` and `pose`, of three streams.
fn traffic(namespace: &Namespace) -> [Running; 3] {
    let pose = ["{\"x\": 1.5, \"y\": [2, 3]}", "--encode", "json"];
    [
        flow(namespace, "camera", &["--size", "100000"], "10"),
        flow(namespace, "imu", &["--size", "1000"], "200"),
        flow(namespace, "pose", &pose, "5"),
    ]
}

/// The first words of the rows of the table, from top to bottom.
fn topics(screen: &str) -> Vec<&str> {
    let rows = screen
        .lines()
        .skip_while(|line| !line.contains("TOPIC"))
        .skip(1);
    let rows = rows.take_while(|line| !line.trim().is_empty() && !line.contains("quit"));
    rows.filter_map(|row| row.trim_start_matches('>').split_whitespace().next())
        .collect()
}

/// What stands below a head, of the row of a topic.
fn cell<'a>(screen: &'a str, topic: &str, columns: Range<usize>) -> &'a str {
    let of_topic = |line: &&str| line.trim_start_matches(['>', ' ']).starts_with(topic);
    let row = screen
        .lines()
        .find(of_topic)
        .unwrap_or_else(|| panic!("{screen}"));
    let bounds: Vec<usize> = row.char_indices().map(|(at, _)| at).collect();
    let end = bounds.get(columns.end).copied().unwrap_or(row.len());
    row[bounds[columns.start]..end].trim()
}

/// Where the figures below a head that is flush right are.
fn below(screen: &str, head: &str, width: usize) -> Range<usize> {
    let heads = screen.lines().find(|line| line.contains(head)).unwrap();
    let at = heads.find(head).unwrap();
    let end = heads[..at].chars().count() + head.len();
    end - width..end
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn with_tmux_rows_have_the_figures_of_what_is_published() {
    let namespace = network();
    let _traffic = traffic(&namespace);
    let terminal = Terminal::spying(
        &namespace,
        &format!("{GROUP} --window 2 --max-message 50000"),
    );
    let screen = terminal.until("rates", |screen| {
        topics(screen) == ["imu", "pose"] && screen.contains("█")
    });
    let figure = |topic, head, width| cell(&screen, topic, below(&screen, head, width));
    let rate: f64 = figure("imu", "RATE/s", 6).parse().unwrap();
    assert!((100.0..300.0).contains(&rate), "{screen}");
    assert_eq!(figure("imu", "SIZE", 8), "1000 B", "{screen}");
    assert!(figure("imu", "BANDWIDTH", 9).ends_with("kB/s"), "{screen}");
    assert_eq!(figure("imu", "LOST", 6), "0", "{screen}");
    let latency = figure("imu", "LATENCY", 9);
    assert!(
        latency.ends_with("µs") || latency.ends_with("ms"),
        "{screen}"
    );
    assert!(figure("imu", "LAST", 6).ends_with(" s"), "{screen}");
    // The camera's messages are too large for this listener: nobody's but its own losses.
    let lost = |screen: &str| {
        let line = screen.lines().nth(1).unwrap();
        let lost = line.split(" lost").next().unwrap();
        lost.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = lost(&screen);
    terminal.until("losses", |screen| lost(screen) > before.max(5));
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn with_tmux_losses_have_their_cause_in_the_row_and_in_the_detail() {
    let namespace = network();
    let terminal = Terminal::spying(&namespace, &format!("{GROUP} --max-message 50000"));
    let connection = Connection::new(GROUP).unwrap();
    namespace.run(|| {
        let broadcaster = RawBroadcaster::builder(&connection)
            .topic("mixed")
            .open()
            .unwrap();
        for size in [10, 60_000, 10, 60_000, 60_000, 10] {
            broadcaster.publish(&vec![7; size]).unwrap();
        }
    });
    let screen = terminal.until("a cause", |screen| screen.contains("too large"));
    assert_eq!(
        cell(&screen, "mixed", below(&screen, "LOST", 6)),
        "3",
        "{screen}"
    );
    terminal.press(&["Enter"]);
    terminal.shows("3 of the whole stream: 3 too large");
    terminal.shows("10 B hex: 07070707070707070707");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn with_tmux_keys_sort_filter_pause_and_explain() {
    let namespace = network();
    let _traffic = traffic(&namespace);
    let terminal = Terminal::spying(&namespace, GROUP);
    terminal.until("rows", |screen| topics(screen) == ["camera", "imu", "pose"]);
    terminal.press(&["r"]);
    terminal.until("reversed", |screen| {
        topics(screen) == ["pose", "imu", "camera"]
    });
    terminal.press(&["s", "s"]);
    terminal.shows("RATE/s▼");
    terminal.until("by rate", |screen| {
        topics(screen) == ["imu", "camera", "pose"]
    });
    terminal.press(&["s"]);
    terminal.until("by bandwidth", |screen| {
        topics(screen) == ["camera", "imu", "pose"]
    });
    terminal.press(&["/", "P", "o", "s"]);
    terminal.until("a filter", |screen| {
        topics(screen) == ["pose"] && screen.contains("/Pos_")
    });
    terminal.press(&["Enter"]);
    terminal.shows("1 of 3 rows  filter: Pos");
    terminal.press(&["Escape"]);
    terminal.until("no filter", |screen| topics(screen).len() == 3);
    terminal.press(&["p"]);
    let paused = terminal.shows("PAUSED");
    sleep(Duration::from_millis(1200));
    assert_eq!(terminal.screen(), paused);
    terminal.press(&["p"]);
    terminal.until("moving", |screen| {
        !screen.contains("PAUSED") && screen != paused
    });
    terminal.press(&["?"]);
    terminal.shows("scroll the detail");
    terminal.press(&["Escape"]);
    terminal.shows("RATE/s");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn with_tmux_the_detail_has_the_last_payload_whole_and_decoded() {
    let namespace = network();
    let _traffic = traffic(&namespace);
    let _text = flow(&namespace, "text", &[&"word ".repeat(1000)], "5");
    let terminal = Terminal::spying(&namespace, GROUP);
    terminal.until("rows", |screen| topics(screen).len() == 4);
    terminal.press(&["j", "j", "Enter"]);
    let screen = terminal.shows("json: {\"x\":1.5,\"y\":[2,3]}");
    for part in [
        "0, of the whole stream",
        "clocks is in it",
        "sender    [fe80::",
        "published 20",
    ] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
    terminal.press(&["Down"]);
    // First what was kept of all rows, then the whole of the one that is looked at.
    terminal.shows("5000 B text: word word");
    terminal.press(&["p"]);
    terminal.shows("PAUSED");
    terminal.press(&["Up"]);
    terminal.shows("json: {\"x\":1.5,\"y\":[2,3]}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn with_tmux_a_narrow_terminal_keeps_what_matters() {
    let namespace = network();
    let _traffic = traffic(&namespace);
    let terminal = Terminal::spying(&namespace, GROUP);
    terminal.until("rows", |screen| {
        topics(screen).len() == 3 && screen.contains("HISTORY")
    });
    terminal.resize("80", "24");
    terminal.until("80 columns", |screen| {
        screen.contains("LATENCY") && !screen.contains("STREAM")
    });
    terminal.resize("40", "12");
    let screen = terminal.until("40 columns", |screen| {
        screen.contains("LOST") && !screen.contains("LATENCY") && topics(screen).len() == 3
    });
    assert!(
        screen.lines().all(|line| line.chars().count() <= 40),
        "{screen}"
    );
    terminal.press(&["Enter"]);
    terminal.shows("100 kB hex");
    terminal.resize("20", "6");
    terminal.shows("too small");
    terminal.resize("120", "30");
    terminal.until("120 columns", |screen| {
        screen.contains("HISTORY") && screen.contains("100 kB hex")
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn with_tmux_who_quits_has_the_terminal_back_as_it_was() {
    let namespace = network();
    let _traffic = traffic(&namespace);
    for end in ["q", "C-c", "-TERM", "-INT"] {
        let terminal = Terminal::spying(&namespace, GROUP);
        terminal.until("rows", |screen| topics(screen).len() == 3);
        assert_eq!(terminal.value("#{alternate_on} #{cursor_flag}"), "1 0");
        match end.starts_with('-') {
            true => terminal.signal(end),
            false => terminal.press(&[end]),
        }
        terminal.is_given_back();
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn with_tmux_several_connections_and_an_interface_that_goes_away() {
    let namespace = network();
    namespace.bridge("br1").unwrap();
    let _traffic = traffic(&namespace);
    let beside = [
        "pub",
        OTHER_GROUP,
        "x",
        "--rate",
        "50",
        "--interface",
        "br1",
        "--topic",
        "beside",
        "-q",
    ];
    let _beside = Running::start(&namespace, &beside);
    let groups = format!("{GROUP}%br0 {OTHER_GROUP}%br1");
    let terminal = Terminal::spying(&namespace, &groups);
    let screen = terminal.until("rows", |screen| topics(screen).len() == 4);
    assert_eq!(topics(&screen)[0], "beside");
    for (topic, number) in [("beside", "2"), ("imu", "1")] {
        assert_eq!(
            cell(&screen, topic, below(&screen, " # ", 3)),
            number,
            "{screen}"
        );
    }
    namespace.ip(&["link", "delete", "br1"]).unwrap();
    let screen = terminal.until("a loss", |screen| {
        screen.contains("NO INTERFACE") && screen.contains("interface br1 lost")
    });
    assert_eq!(screen.matches("NO INTERFACE").count(), 1, "{screen}");
    namespace.bridge("br1").unwrap();
    terminal.until("its return", |screen| {
        screen.contains(" is back") && !screen.contains("NO INTERFACE")
    });
    terminal.press(&["Escape"]);
    terminal.until("no news", |screen| !screen.contains(" is back"));
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn with_tmux_nothing_from_the_network_steers_the_terminal() {
    let namespace = network();
    let terminal = Terminal::spying(&namespace, GROUP);
    let title = terminal.value("#{pane_title}");
    let topic = "a\u{1b}]0;stolen\u{7}\u{1b}[2Jb";
    let _hostile = flow(&namespace, topic, &["\u{1b}]0;stolen\u{7}\u{202e}"], "20");
    terminal.shows("\"a\\u{1b}]0;stolen\\u{7}\\u{1b}");
    terminal.press(&["Enter"]);
    terminal.shows("hex: 1b5d303b73746f6c656e07");
    assert_eq!(terminal.value("#{pane_title}"), title);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn with_tmux_more_topics_than_are_kept_are_counted() {
    let namespace = network();
    let terminal = Terminal::spying(&namespace, GROUP);
    let mut list = mcl(&["list", GROUP, "--window", "6"]);
    list.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut list = namespace.spawn(&mut list).unwrap();
    let (mut errors, mut listed) = (BufReader::new(list.stderr.take().unwrap()), String::new());
    errors.read_line(&mut listed).unwrap();
    let connection = Connection::new(GROUP).unwrap();
    namespace.run(|| {
        let broadcaster = RawBroadcaster::open(&connection).unwrap();
        for number in 0..5000 {
            broadcaster
                .publish_to(&format!("topic/{number}"), b"x")
                .unwrap();
        }
    });
    terminal.shows(" not listed");
    terminal.shows("4096 rows");
    terminal.press(&["G"]);
    terminal.until("the last row", |screen| {
        screen.lines().filter(|line| line.starts_with('>')).count() == 1
    });
    terminal.press(&["q"]);
    terminal.is_given_back();
    errors.read_to_string(&mut listed).unwrap();
    assert!(list.wait().unwrap().success(), "{listed}");
    let remark = "beyond 4096 not listed (`--topic` chooses)";
    assert!(listed.contains(remark), "{listed}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn with_tmux_it_hardly_works_while_nothing_happens() {
    let namespace = network();
    let terminal = Terminal::spying(&namespace, GROUP);
    terminal.shows("nothing has arrived so far");
    let before = terminal.processor_time();
    sleep(Duration::from_secs(4));
    let used = terminal.processor_time() - before;
    assert!(used <= 20, "{used} hundredths of a second in 4 s");
    // And is there at once.
    terminal.press(&["?"]);
    terminal.shows("scroll the detail");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn without_a_terminal_it_names_what_needs_none() {
    let namespace = network();
    let output = namespace.run(|| mcl(&["spy", GROUP]).output()).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(2), 0),
        "{errors}"
    );
    assert!(
        errors.contains("terminal") && errors.contains("`mcl list`"),
        "{errors}"
    );
    for wrong in ["--fps=0", "--fps=31", "--window=0"] {
        let status = namespace
            .run(|| mcl(&["spy", GROUP, wrong]).output())
            .unwrap()
            .status;
        assert_eq!(status.code(), Some(2), "{wrong}");
    }
}

/// The heads of the table and the names of the figures below it.
fn skeleton(screen: &str) -> Vec<String> {
    let heads = screen
        .lines()
        .find(|line| line.contains("TOPIC"))
        .unwrap_or_default();
    let fields = screen
        .lines()
        .skip_while(|line| !line.starts_with("payload"));
    let names = fields.filter_map(|line| line.get(..10)).map(str::trim);
    let names = names.take_while(|name| !name.starts_with("Esc"));
    let names = names.filter(|name| !name.is_empty()).map(str::to_owned);
    std::iter::once(heads.to_owned()).chain(names).collect()
}

/// The manual shows a real screen, and one that is like that of today. `BLESS=1` puts
/// a new one there.
#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn with_tmux_the_manual_shows_the_screen_as_it_is() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/mcl-command.md");
    let text = fs::read_to_string(&manual).unwrap();
    let (before, rest) = text
        .split_once("<!-- a screen of mcl spy -->\n```text\n")
        .unwrap();
    let (shown, after) = rest.split_once("```\n").unwrap();
    let namespace = network();
    let _traffic = traffic(&namespace);
    let terminal = Terminal::spying(&namespace, GROUP);
    terminal.resize("100", "26");
    terminal.until("rows", |screen| topics(screen).len() == 3);
    terminal.press(&["j", "j", "Enter"]);
    if env::var_os("BLESS").is_some() {
        sleep(Duration::from_secs(30));
        let screen = terminal.screen();
        let new = format!("{before}<!-- a screen of mcl spy -->\n```text\n{screen}```\n{after}");
        fs::write(&manual, new).unwrap();
    } else {
        let screen = terminal.shows("received");
        assert_eq!(skeleton(&screen), skeleton(shown), "{screen}");
    }
}
