//! The kernel's limits for receive buffers: raised, never lowered.

use std::fs;
use std::io;
use std::path::PathBuf;

use mcl_net::{BufferSetting, RECOMMENDED_RECEIVE_BUFFER};

use super::Host;
use crate::command::{Mode, Shell};

const SETTINGS: [BufferSetting; 2] = [BufferSetting::Max, BufferSetting::Default];

/// The first line of our file in sysctl.d; another file is not ours to remove.
const HEADER: &str = "# Written by `netsetup --persist` of MCL; `--undo` removes it.";

/// How the file began when there was only `cargo xtask netsetup`.
const FORMER_HEADER: &str =
    "# Written by `cargo xtask netsetup --persist` (MCL); `--undo` removes it.";

fn is_ours(text: &str) -> bool {
    [HEADER, FORMER_HEADER]
        .iter()
        .any(|it| text.starts_with(it))
}

/// A setting that is too small and can be raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raise {
    setting: BufferSetting,
    path: PathBuf,
    value: usize,
}

/// How a setting stands.
enum State {
    Large,
    Raisable(Raise),
    Absent,
    ReadOnly,
}

fn path(host: &Host, setting: BufferSetting) -> PathBuf {
    host.proc_sys.join(setting.name().replace('.', "/"))
}

fn read(host: &Host, setting: BufferSetting) -> Option<usize> {
    let text = fs::read_to_string(path(host, setting)).ok()?;
    text.trim().parse().ok()
}

fn state(host: &Host, setting: BufferSetting) -> State {
    let path = path(host, setting);
    let Some(value) = read(host, setting) else {
        return State::Absent;
    };
    let read_only = fs::metadata(&path).is_ok_and(|metadata| metadata.permissions().readonly());
    if value >= RECOMMENDED_RECEIVE_BUFFER {
        State::Large
    } else if read_only {
        State::ReadOnly
    } else {
        State::Raisable(Raise {
            setting,
            path,
            value,
        })
    }
}

/// What [`raise`] would raise.
pub(super) fn to_raise(host: &Host) -> Vec<Raise> {
    let raisable = |setting| match state(host, setting) {
        State::Raisable(raise) => Some(raise),
        _ => None,
    };
    SETTINGS.into_iter().filter_map(raisable).collect()
}

/// Raises what is too small; what cannot be raised is said and left.
pub(super) fn raise(host: &Host, shell: &mut Shell<'_>) -> io::Result<()> {
    for setting in SETTINGS {
        let name = setting.name();
        match state(host, setting) {
            State::Large => {}
            State::Absent => shell.say(format!(
                "{name} is not visible in this network namespace: left as it is"
            ))?,
            State::ReadOnly => {
                shell.say(format!(
                    "{name} is read-only here (a network namespace): left as it is"
                ))?;
            }
            State::Raisable(raise) => raise_one(host, &raise, shell)?,
        }
    }
    Ok(())
}

fn raise_one(host: &Host, raise: &Raise, shell: &mut Shell<'_>) -> io::Result<()> {
    let name = raise.setting.name();
    shell.say(format!(
        "{name} is {}: small for large messages:",
        raise.value
    ))?;
    let wanted = RECOMMENDED_RECEIVE_BUFFER.to_string();
    let shown = format!("sysctl -w {name}={wanted}");
    match shell.write(&shown, &raise.path, &wanted) {
        Ok(()) if shell.mode() == Mode::Run => remember(host, raise),
        Ok(()) => Ok(()),
        // A container may not write it even as root.
        Err(error) => shell.say(format!("    {error}: left as it is")),
    }
}

/// Notes the former value for [`restore`]; the note of an earlier run stands.
fn remember(host: &Host, raise: &Raise) -> io::Result<()> {
    let mut notes = fs::read_to_string(&host.state).unwrap_or_default();
    let name = raise.setting.name();
    if !notes.lines().any(|line| line.starts_with(name)) {
        notes.push_str(&format!("{name} {}\n", raise.value));
    }
    fs::write(&host.state, notes)
}

/// Gives the settings their former values, unless someone else changed them since,
/// and removes our file from sysctl.d.
pub(super) fn restore(host: &Host, shell: &mut Shell<'_>) -> io::Result<()> {
    if let Ok(notes) = fs::read_to_string(&host.state) {
        let restored = notes.lines().map(|note| restore_one(host, note, shell));
        match restored.collect::<io::Result<()>>() {
            Ok(()) => shell.remove(&host.state)?,
            Err(error) => shell.say(format!("    {error}: left as it is"))?,
        }
    }
    if fs::read_to_string(&host.sysctl_d).is_ok_and(|text| is_ours(&text)) {
        shell.remove(&host.sysctl_d)?;
    }
    Ok(())
}

fn restore_one(host: &Host, note: &str, shell: &mut Shell<'_>) -> io::Result<()> {
    let named = |setting: &BufferSetting| note.starts_with(setting.name());
    let (Some(setting), Some((name, former))) =
        (SETTINGS.into_iter().find(named), note.split_once(' '))
    else {
        return Ok(());
    };
    let now = read(host, setting);
    if now != Some(RECOMMENDED_RECEIVE_BUFFER) {
        return shell.say(format!("{name} was changed since: left as it is"));
    }
    let shown = format!("sysctl -w {name}={former}");
    shell.write(&shown, &path(host, setting), former)
}

/// Writes the sizes to sysctl.d, so that they outlive a reboot.
pub(super) fn persist(host: &Host, shell: &mut Shell<'_>) -> io::Result<()> {
    let mut content = format!("{HEADER}\n");
    for setting in SETTINGS {
        // What cannot be seen from here may be larger already.
        let Some(value) = read(host, setting) else {
            continue;
        };
        let value = value.max(RECOMMENDED_RECEIVE_BUFFER);
        content.push_str(&format!("{} = {value}\n", setting.name()));
    }
    let path = &host.sysctl_d;
    match fs::read_to_string(path) {
        Ok(found) if found == content => return Ok(()),
        Ok(found) if !is_ours(&found) => {
            return shell.say(format!("{} is not ours: left as it is", path.display()));
        }
        _ => {}
    }
    let shown = format!("tee {} <<EOF\n{content}EOF", path.display());
    shell.write(&shown, path, &content)
}
