//! What is shown, and what keys do to it. Knows no terminal, socket or clock.

use std::cmp::Ordering;
use std::time::SystemTime;

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::columns::Sort;
use super::sources::{Key, Row, Snapshot};
use crate::view;

/// The longest filter.
const LONGEST_FILTER: usize = 64;

/// What the loop is to do after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    /// Take a snapshot with all that may be looked at later, and [`Model::freeze`].
    Freeze,
    Quit,
}

/// What is in front of the table, or below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    #[default]
    None,
    Detail,
    Help,
}

#[derive(Debug)]
pub(super) struct Model {
    snapshot: Snapshot,
    /// Which rows are shown, in order.
    visible: Vec<usize>,
    pub(super) sort: Sort,
    pub(super) reversed: bool,
    filter: String,
    pub(super) typing: bool,
    paused: bool,
    pub(super) pane: Pane,
    /// How far the pane is scrolled; drawing bounds it.
    pub(super) scroll: usize,
    /// The selected row, once somebody has chosen one.
    selected: Option<Key>,
    /// Where it was.
    cursor: usize,
    /// The first row on the screen, and how many there are; drawing sets both.
    pub(super) offset: usize,
    pub(super) page: usize,
    news: Option<String>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            snapshot: Snapshot {
                time: SystemTime::UNIX_EPOCH,
                connections: Vec::new(),
                rows: Vec::new(),
            },
            visible: Vec::new(),
            sort: Sort::Topic,
            reversed: false,
            filter: String::new(),
            typing: false,
            paused: false,
            pane: Pane::None,
            scroll: 0,
            selected: None,
            cursor: 0,
            offset: 0,
            page: 1,
            news: None,
        }
    }
}

impl Model {
    /// Shows what is known now.
    pub(super) fn update(&mut self, snapshot: Snapshot) {
        self.snapshot = snapshot;
        self.arrange();
    }

    /// Shows this until it is to go on.
    pub(super) fn freeze(&mut self, snapshot: Snapshot) {
        self.update(snapshot);
        self.paused = true;
    }

    /// Shows a line that lasts.
    pub(super) fn say(&mut self, news: String) {
        self.news = Some(news);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// The row whose last message is shown.
    pub(super) fn watched(&self) -> Option<Key> {
        let row = (self.pane == Pane::Detail).then(|| self.current())?;
        row.map(|row| row.key.clone())
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    pub(super) fn news(&self) -> Option<&str> {
        self.news.as_deref()
    }

    /// How many rows pass the filter.
    pub(super) fn len(&self) -> usize {
        self.visible.len()
    }

    /// Rows that pass the filter, in order, from the `from`-th on.
    pub(super) fn rows(&self, from: usize) -> impl Iterator<Item = &Row> {
        let shown = self.visible.iter().skip(from);
        shown.filter_map(|&at| self.snapshot.rows.get(at))
    }

    /// Where the selected row is, or was.
    pub(super) fn cursor(&self) -> usize {
        self.cursor
    }

    /// The selected row, or the one that has taken its place.
    pub(super) fn current(&self) -> Option<&Row> {
        self.rows(self.cursor).next()
    }

    pub(super) fn event(&mut self, event: &Event) -> Action {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(*key),
            _ => Action::Nothing,
        }
    }

    fn key(&mut self, key: KeyEvent) -> Action {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Action::Quit,
                _ => Action::Nothing,
            };
        }
        match self.typing {
            true => self.type_filter(key.code),
            false => return self.command(key.code),
        }
        Action::Nothing
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter | KeyCode::Tab => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(char) => {
                if !char.is_control() && self.filter.len() < LONGEST_FILTER {
                    self.filter.push(char);
                }
            }
            _ => return self.walk(code),
        }
        self.arrange();
    }

    fn command(&mut self, code: KeyCode) -> Action {
        match code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('p' | ' ') if !self.paused => return Action::Freeze,
            KeyCode::Char('p' | ' ') => self.paused = false,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('s') => self.sort_by(self.sort.next()),
            KeyCode::Char('S') => self.sort_by(self.sort.previous()),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('?' | 'h') => self.toggle(Pane::Help),
            KeyCode::Enter => self.open_detail(),
            KeyCode::Esc => self.close(),
            KeyCode::Char(']') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Char('[') => self.scroll = self.scroll.saturating_sub(1),
            code => self.walk(code),
        }
        self.arrange();
        Action::Nothing
    }

    fn sort_by(&mut self, sort: Sort) {
        (self.sort, self.reversed) = (sort, false);
    }

    fn toggle(&mut self, pane: Pane) {
        self.scroll = 0;
        self.pane = if self.pane == pane { Pane::None } else { pane };
    }

    fn open_detail(&mut self) {
        self.toggle(Pane::Detail);
        // From now on it is this one, wherever it goes.
        self.select(self.cursor);
    }

    /// Closes what is open: the pane, the news, the filter, one after the other.
    fn close(&mut self) {
        if self.pane != Pane::None {
            self.toggle(self.pane);
        } else if self.news.take().is_none() {
            self.filter.clear();
        }
    }

    fn walk(&mut self, code: KeyCode) {
        let (last, page) = (self.len().saturating_sub(1), self.page.max(1));
        if self.pane == Pane::Help {
            return self.walk_pane(code);
        }
        let to = match code {
            KeyCode::Up | KeyCode::Char('k') => self.cursor.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.cursor.saturating_add(1),
            KeyCode::PageUp => self.cursor.saturating_sub(page),
            KeyCode::PageDown => self.cursor.saturating_add(page),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            _ => return,
        };
        self.scroll = 0;
        self.select(to.min(last));
    }

    fn walk_pane(&mut self, code: KeyCode) {
        self.scroll = match code {
            KeyCode::Up | KeyCode::Char('k') => self.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll.saturating_add(1),
            _ => self.scroll,
        };
    }

    fn select(&mut self, at: usize) {
        self.cursor = at;
        self.selected = self.current().map(|row| row.key.clone());
    }

    /// Filters and sorts, and finds the selected row again.
    fn arrange(&mut self) {
        let needle = self.filter.to_lowercase();
        let rows = &self.snapshot.rows;
        let passes = |&at: &usize| needle.is_empty() || description(&rows[at]).contains(&needle);
        let mut visible: Vec<usize> = (0..rows.len()).filter(passes).collect();
        visible.sort_by(|&one, &two| self.order(&rows[one], &rows[two]));
        self.visible = visible;
        self.find_selected();
    }

    fn order(&self, one: &Row, two: &Row) -> Ordering {
        let order = self.sort.compare(one, two);
        let order = match self.reversed {
            true => order.reverse(),
            false => order,
        };
        order.then_with(|| one.key.cmp(&two.key))
    }

    fn find_selected(&mut self) {
        let is_selected = |row: &Row| Some(&row.key) == self.selected.as_ref();
        let found = self.rows(0).position(is_selected);
        // Filtered away or forgotten: whatever is in its place now.
        let last = self.len().saturating_sub(1);
        self.cursor = found.unwrap_or(self.cursor).min(last);
    }
}

/// What the filter looks at.
fn description(row: &Row) -> String {
    let topic = view::topic(row.key.topic.as_deref());
    let Row {
        sender, encoding, ..
    } = row;
    format!("{topic} {} {sender} {encoding}", row.key.stream).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, press};
    use super::*;

    fn topics(model: &Model) -> Vec<String> {
        let topic = |row: &Row| view::topic(row.key.topic.as_deref()).into_owned();
        model.rows(0).map(topic).collect()
    }

    fn current(model: &Model) -> String {
        view::topic(model.current().unwrap().key.topic.as_deref()).into_owned()
    }

    #[test]
    fn orders_go_through_all_columns_and_turn_around() {
        let mut model = samples::model();
        assert_eq!(
            topics(&model),
            ["-", "camera", "config/of/日本語/long", "imu", "pose"]
        );
        press(&mut model, "r");
        assert_eq!(
            topics(&model),
            ["pose", "imu", "config/of/日本語/long", "camera", "-"]
        );
        press(&mut model, "ss");
        assert_eq!((model.sort, model.reversed), (Sort::Rate, false));
        assert_eq!(topics(&model)[0], "imu");
        press(&mut model, "s");
        assert_eq!(topics(&model)[0], "camera");
        press(&mut model, "sss");
        assert_eq!(model.sort, Sort::Latency);
        // What has no latency comes last.
        assert_eq!(topics(&model)[4], "config/of/日本語/long");
        press(&mut model, "SSSSSS");
        assert_eq!(model.sort, Sort::Topic);
    }

    #[test]
    fn a_filter_is_typed_kept_and_cleared() {
        let mut model = samples::model();
        press(&mut model, "/IMx\u{8}");
        assert_eq!(
            (topics(&model), model.typing),
            (vec!["imu".to_owned()], true)
        );
        // Letters are letters here.
        press(&mut model, "q");
        assert_eq!((model.filter(), model.len()), ("IMq", 0));
        press(&mut model, "\u{8}\n");
        assert_eq!((model.filter(), model.typing), ("IM", false));
        press(&mut model, "\u{1b}");
        assert_eq!((model.filter(), model.len()), ("", 5));
        press(&mut model, "/json\u{1b}");
        assert_eq!((model.filter(), model.len()), ("", 5));
        press(&mut model, &format!("/{}", "ü".repeat(1000)));
        assert!(model.filter().len() <= LONGEST_FILTER + 1);
    }

    #[test]
    fn the_chosen_row_stays_chosen_wherever_it_goes() {
        let mut model = samples::model();
        press(&mut model, "jjj");
        assert_eq!((current(&model), model.cursor()), ("imu".into(), 3));
        press(&mut model, "ss");
        assert_eq!((current(&model), model.cursor()), ("imu".into(), 0));
        press(&mut model, "/came\n");
        assert_eq!(current(&model), "camera");
        press(&mut model, "\u{1b}");
        assert_eq!(current(&model), "imu");
        press(&mut model, "G");
        assert_eq!(model.cursor(), 4);
    }

    #[test]
    fn only_what_is_looked_at_is_asked_for_whole() {
        let mut model = samples::model();
        press(&mut model, "j");
        assert_eq!(model.watched(), None);
        press(&mut model, "\n");
        assert_eq!(model.watched().unwrap().topic.as_deref(), Some("camera"));
        press(&mut model, "j");
        assert_eq!(
            model.watched().unwrap().topic.as_deref(),
            Some("config/of/日本語/long")
        );
        press(&mut model, "\u{1b}");
        assert_eq!(model.watched(), None);
    }

    #[test]
    fn a_pause_lasts_until_it_is_ended() {
        let mut model = samples::model();
        assert_eq!(press(&mut model, "p"), Action::Freeze);
        model.freeze(samples::snapshot());
        assert!(model.is_paused());
        assert_eq!(press(&mut model, " "), Action::Nothing);
        assert!(!model.is_paused());
    }

    #[test]
    fn two_keys_quit_and_escape_does_not() {
        let mut model = samples::model();
        assert_eq!(press(&mut model, "q"), Action::Quit);
        assert_eq!(press(&mut model, "\u{1b}"), Action::Nothing);
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(model.event(&Event::Key(key)), Action::Quit);
        press(&mut model, "/");
        assert_eq!(model.event(&Event::Key(key)), Action::Quit);
        let released = KeyEvent {
            kind: KeyEventKind::Release,
            ..key
        };
        assert_eq!(model.event(&Event::Key(released)), Action::Nothing);
    }

    #[test]
    fn escape_closes_one_thing_after_the_other() {
        let mut model = samples::model();
        press(&mut model, "/imu\n\n");
        model.say("news".into());
        press(&mut model, "\u{1b}");
        assert_eq!((model.pane, model.news()), (Pane::None, Some("news")));
        press(&mut model, "\u{1b}");
        assert_eq!((model.news(), model.filter()), (None, "imu"));
        press(&mut model, "\u{1b}");
        assert_eq!(model.filter(), "");
    }
}
