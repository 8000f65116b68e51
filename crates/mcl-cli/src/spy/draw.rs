//! The model as a frame.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Block, Borders, HighlightSpacing, Paragraph, Row as TableRow, Table, TableState,
};

use super::columns::Column;
use super::detail::{detail, fold};
use super::figures::{bandwidth, count, rate};
use super::model::{Model, Pane};
use super::sources::{Row, Status};
use crate::output::counted;
use crate::view;

/// What is needed at least.
const LEAST: (u16, u16) = (30, 8);

/// The height below which a pane takes the place of the table.
const TALL: u16 = 20;

/// The most lines that connections take.
const MOST_CONNECTIONS: usize = 4;

/// The most lines that something that has happened takes.
const MOST_NEWS: usize = 3;

const HELP: &str = "\
q, Ctrl-C     quit
up, down, PgUp, PgDn, Home, End  (j k g G)   select a row
Enter         detail of the row: last payload, losses by cause, latency, times
[ ]           scroll the detail
s S           order by the next or the previous column
r             reverse the order
/             filter by topic, stream, sender or encoding; Enter keeps it, Esc clears it
p, space      pause, go on
Esc           close the pane, then the message below, then clear the filter
? h           this help

RATE, BANDWIDTH, SIZE and LATENCY are of the last seconds (--window). HISTORY has a bar a second.
LOST is of the whole stream and from the beginning on: message numbers belong to streams, not to \
topics. CAUSE is the most frequent one, + if there are others.
LATENCY is from publishing, by the sender's clock, to receiving, by this machine's: the difference \
of the clocks is in it. Below zero the sender's clock is ahead. Two processes on one machine share \
a clock; between machines, synchronise them (PTP, NTP) before you believe it.
LAST is how long ago the last message came.";

pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        return draw_too_small(frame, area);
    }
    let connections = connections(model);
    let news = status(model, usize::from(area.width));
    let [title, above, body, below, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(connections.len() as u16),
        Constraint::Fill(1),
        Constraint::Length(news.len() as u16),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(heading(model)).reversed(), title);
    frame.render_widget(Paragraph::new(connections), above);
    draw_body(frame, body, model);
    frame.render_widget(Paragraph::new(news), below);
    frame.render_widget(key_line(model, keys.width), keys);
}

fn draw_too_small(frame: &mut Frame<'_>, area: Rect) {
    let (width, height) = LEAST;
    let text = format!("too small: {width}x{height} is needed (q quits)");
    let lines = fold(&text, usize::from(area.width).max(1));
    let lines: Vec<Line<'_>> = lines.into_iter().map(Line::raw).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

/// What is shown of what there is, and how.
fn heading(model: &Model) -> Line<'static> {
    let (shown, all) = (model.len(), model.snapshot().rows.len());
    let mut text = match shown == all {
        true => format!(" mcl spy  {}", counted(all as u64, "row")),
        false => format!(" mcl spy  {shown} of {}", counted(all as u64, "row")),
    };
    if model.is_paused() {
        text += "  PAUSED";
    }
    if !model.filter().is_empty() {
        text += &format!("  filter: {}", view::escaped(model.filter()));
    }
    text += &format!("  by {} {}", model.sort.name(), arrow(model));
    Line::from(text).bold()
}

fn arrow(model: &Model) -> char {
    match model.sort.goes_up() != model.reversed {
        true => '▲',
        false => '▼',
    }
}

/// A line per connection, and one for those that there is no room for.
fn connections(model: &Model) -> Vec<Line<'static>> {
    let all = &model.snapshot().connections;
    let shown = match all.len() {
        few if few <= MOST_CONNECTIONS => few,
        _ => MOST_CONNECTIONS - 1,
    };
    let several = all.len() > 1;
    let line = |(at, status): (usize, &Status)| {
        let number = match several {
            true => format!("{} ", at + 1),
            false => String::new(),
        };
        connection(&number, status)
    };
    let mut lines: Vec<Line<'_>> = all.iter().take(shown).enumerate().map(line).collect();
    if shown < all.len() {
        lines.push(Line::raw(format!("and {} more connections", all.len() - shown)).dim());
    }
    lines
}

fn connection(number: &str, status: &Status) -> Line<'static> {
    let mut spans = vec![Span::raw(format!(
        "{number}{}/s  {}  ",
        rate(status.rate),
        bandwidth(status.bandwidth)
    ))];
    if status.interface_lost {
        spans.push(alarming("NO INTERFACE  ".to_owned(), true));
    }
    let lost = format!("{} lost", count(status.lost));
    spans.push(alarming(lost, status.lost > 0));
    if status.unlisted > 0 {
        let unlisted = format!("  {} not listed", count(status.unlisted));
        spans.push(alarming(unlisted, true));
    }
    if let Some(drops) = status.kernel_drops.filter(|drops| *drops > 0) {
        spans.push(alarming(format!("  {} kernel drops", count(drops)), true));
    }
    spans.push(Span::raw("  "));
    let streams = counted(status.streams as u64, "stream");
    spans.push(Span::raw(format!("{}  {streams}", status.name)));
    Line::from(spans)
}

fn alarming(text: String, alarm: bool) -> Span<'static> {
    match alarm {
        true => Span::styled(text, Style::new().red().bold()),
        false => Span::raw(text),
    }
}

fn draw_body(frame: &mut Frame<'_>, body: Rect, model: &mut Model) {
    let (above, pane) = match model.pane {
        Pane::None => (body, Rect::ZERO),
        // Without room for both, or for help, the pane has it all.
        Pane::Help => (Rect::ZERO, body),
        Pane::Detail if body.height < TALL => (Rect::ZERO, body),
        Pane::Detail => {
            // The table needs no more than its rows.
            let rows = u16::try_from(model.len().max(1) + 1).unwrap_or(u16::MAX);
            let table = Constraint::Length(rows.min(body.height / 2));
            let [above, below] = Layout::vertical([table, Constraint::Fill(1)]).areas(body);
            (above, below)
        }
    };
    if above.height > 0 {
        draw_table(frame, above, model);
    }
    if pane.height > 0 {
        draw_pane(frame, pane, model);
    }
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, model: &mut Model) {
    keep_in_view(model, usize::from(area.height.saturating_sub(1)).max(1));
    if model.len() == 0 {
        return draw_nothing(frame, area, model);
    }
    let shown: Vec<&Row> = model.rows(model.offset).take(model.page).collect();
    let longest = shown.iter().map(|row| topic_width(row)).max().unwrap_or(0);
    let several = model.snapshot().connections.len() > 1;
    // One for the mark of the selected row.
    let columns = Column::fitting(area.width.saturating_sub(1), several, longest);
    let now = model.snapshot().time;
    let row = |row: &&Row| {
        let cells = columns
            .iter()
            .map(|(column, width)| column.cell(row, now, *width));
        let style = if row.figures.rate > 0.0 {
            Style::new()
        } else {
            Style::new().dim()
        };
        TableRow::new(cells).style(style)
    };
    let rows: Vec<TableRow<'_>> = shown.iter().map(row).collect();
    let heads = columns.iter().map(|(column, _)| head(*column, model));
    let widths = columns.iter().map(|(_, width)| Constraint::Length(*width));
    let table = Table::new(rows, widths)
        .header(TableRow::new(heads).bold())
        .highlight_symbol(">")
        .highlight_spacing(HighlightSpacing::Always)
        .row_highlight_style(Style::new().reversed());
    let selected = model.cursor().saturating_sub(model.offset);
    let mut state = TableState::new().with_selected(selected);
    frame.render_stateful_widget(table, area, &mut state);
}

fn draw_nothing(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let text = match model.snapshot().rows.is_empty() {
        true => "nothing has arrived so far",
        false => "no row passes the filter (Esc clears it)",
    };
    frame.render_widget(Paragraph::new(text).dim(), area);
}

/// Scrolls so that the selected row is among those on the screen.
fn keep_in_view(model: &mut Model, page: usize) {
    let last = model.len().saturating_sub(page);
    let (least, most) = ((model.cursor() + 1).saturating_sub(page), model.cursor());
    model.page = page;
    model.offset = model.offset.max(least).min(most).min(last);
}

fn topic_width(row: &Row) -> u16 {
    let topic = view::topic(row.key.topic.as_deref());
    u16::try_from(Line::raw(topic).width()).unwrap_or(u16::MAX)
}

fn head(column: Column, model: &Model) -> Line<'static> {
    let mut text = column.head().to_owned();
    if model.sort.column() == column {
        text.push(arrow(model));
    }
    match column.is_flush_right() {
        true => Line::from(text).right_aligned(),
        false => Line::from(text),
    }
}

fn draw_pane(frame: &mut Frame<'_>, area: Rect, model: &mut Model) {
    let width = usize::from(area.width);
    let room = usize::from(area.height.saturating_sub(1));
    let (title, lines) = match (model.pane, model.current()) {
        (Pane::Help, _) => {
            let lines = HELP.lines().flat_map(|line| fold(line, width));
            ("help".to_owned(), lines.collect())
        }
        (_, Some(row)) => detail(row, model.snapshot(), width, room),
        (_, None) => ("no row".to_owned(), Vec::new()),
    };
    model.scroll = model.scroll.min(lines.len().saturating_sub(room));
    let below = lines.len().saturating_sub(room + model.scroll);
    let more = match below {
        0 => String::new(),
        below => format!(" {below} more "),
    };
    let block = Block::new()
        .borders(Borders::TOP)
        .title(Line::from(format!(" {title} ")).bold())
        .title(Line::from(more).right_aligned());
    let shown = lines.into_iter().skip(model.scroll).take(room);
    let shown: Vec<Line<'_>> = shown.map(Line::raw).collect();
    frame.render_widget(Paragraph::new(shown).block(block), area);
}

/// The filter being typed, or what has happened: with its remedy that may be long.
fn status(model: &Model, width: usize) -> Vec<Line<'static>> {
    match (model.typing, model.news()) {
        (true, _) => vec![Line::from(format!("/{}_", view::escaped(model.filter()))).bold()],
        (false, Some(news)) => {
            let lines = fold(news, width).into_iter().take(MOST_NEWS);
            lines.map(|line| Line::from(line).yellow()).collect()
        }
        (false, None) => Vec::new(),
    }
}

/// As many of the keys as there is room for.
fn key_line(model: &Model, width: u16) -> Line<'static> {
    let keys = match (model.typing, model.pane) {
        (true, _) => ["Enter keep", "Esc clear"].as_slice(),
        (_, Pane::Help) => &["Esc close", "j k scroll", "q quit"],
        (_, Pane::Detail) => &[
            "Esc close",
            "[ ] scroll",
            "q quit",
            "? help",
            "p pause",
            "j k select",
        ],
        _ => &[
            "q quit",
            "? help",
            "s sort",
            "/ filter",
            "Enter detail",
            "p pause",
            "r reverse",
        ],
    };
    let mut text = String::new();
    for key in keys {
        if text.len() + key.len() + 2 <= usize::from(width) {
            text += &format!("{key}  ");
        }
    }
    Line::from(text).dim()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::samples::{self, press};
    use super::*;

    const SIZES: [(u16, u16); 3] = [(120, 30), (80, 24), (40, 12)];

    fn screen(model: &mut Model, (width, height): (u16, u16)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |row: u16| {
            let (mut line, mut hidden) = (String::new(), 0);
            for column in 0..width {
                let symbol = buffer[(column, row)].symbol();
                if hidden == 0 {
                    line.push_str(symbol);
                    hidden = Line::raw(symbol).width();
                }
                hidden = hidden.saturating_sub(1);
            }
            line.trim_end().to_owned() + "\n"
        };
        (0..height).map(line).collect()
    }

    /// Compares with the committed screens; `BLESS=1` writes them anew.
    fn judge(name: &str, model: &mut Model) {
        let directory =
            std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/spy/screens"));
        for (width, height) in SIZES {
            let shown = screen(model, (width, height));
            let path = directory.join(format!("{name}-{width}x{height}.txt"));
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&path, &shown).unwrap();
            }
            let expected = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                shown == expected,
                "{}:\n{shown}\n{expected}",
                path.display()
            );
        }
    }

    #[test]
    fn the_table_has_the_columns_that_fit() {
        judge("table", &mut samples::model());
    }

    #[test]
    fn several_connections_are_told_apart() {
        judge("connections", &mut samples::connections());
    }

    #[test]
    fn the_detail_shows_the_payload_and_where_messages_went() {
        let mut model = samples::model();
        press(&mut model, "jjj\n");
        judge("detail", &mut model);
        let mut long = samples::model();
        press(&mut long, "jj\n");
        judge("detail-long", &mut long);
    }

    #[test]
    fn help_can_be_read_on_any_screen() {
        let mut model = samples::model();
        press(&mut model, "?");
        judge("help", &mut model);
        press(&mut model, "jjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjj");
        let end = screen(&mut model, (40, 12));
        assert!(end.contains("LAST is how long ago"), "{end}");
        assert!(!end.contains(" more ") && end.contains("came."), "{end}");
    }

    #[test]
    fn what_is_filtered_sorted_paused_and_said_is_seen() {
        let mut model = samples::model();
        let remedy = "run `ip link set dev br0 up`";
        model.say(format!("22:54:39 interface br0 lost: it is down; {remedy}"));
        press(&mut model, "ssr/IM");
        judge("typing", &mut model);
        press(&mut model, "\n");
        model.freeze(samples::snapshot());
        judge("filtered", &mut model);
        press(&mut model, "/xyz");
        assert!(screen(&mut model, (80, 24)).contains("no row passes"));
    }

    #[test]
    fn before_anything_arrives_it_says_so() {
        let mut model = Model::default();
        assert!(screen(&mut model, (40, 12)).contains("nothing has arrived"));
        // Keys do no harm.
        press(&mut model, "jkGg\n[]?srS/x\n");
        screen(&mut model, (80, 24));
    }

    #[test]
    fn any_size_can_be_drawn_and_the_least_is_told() {
        let mut model = samples::connections();
        for (width, height) in [(1, 1), (5, 2), (29, 8), (30, 7)] {
            let shown = screen(&mut model, (width, height));
            assert!(!shown.contains("spy"), "{shown}");
        }
        assert!(screen(&mut model, (29, 8)).contains("too small: 30x8"));
        for keys in ["", "\n", "?", "?/"] {
            press(&mut model, keys);
            for width in (30..130).step_by(7) {
                for height in 8..30 {
                    assert!(screen(&mut model, (width, height)).contains("mcl spy"));
                }
            }
        }
    }

    #[test]
    fn the_selected_row_is_always_on_the_screen() {
        let mut model = samples::many(500);
        for keys in [
            "jjjjjjjjjjjjjjjjjjjjjjjjjjjj",
            "G",
            "kkkkkkkkkkkkkkkkkkkkkkkkkkkk",
            "g",
        ] {
            press(&mut model, keys);
            for height in [8, 24, 12] {
                let shown = screen(&mut model, (40, height));
                assert_eq!(
                    shown.lines().filter(|line| line.starts_with('>')).count(),
                    1
                );
            }
        }
    }

    #[test]
    fn nothing_from_the_network_steers_the_terminal() {
        let mut model = samples::hostile();
        for keys in ["", "\n"] {
            press(&mut model, keys);
            for size in SIZES {
                let shown = screen(&mut model, size);
                let steers = |char: char| char.is_control() && char != '\n' || char == '\u{202e}';
                assert!(!shown.contains(steers), "{shown:?}");
                assert!(shown.contains("\\u{1b}"), "{shown}");
            }
        }
    }
}
