//! Running tshark with the dissector, without any setting of the user.

use std::path::Path;
use std::process::{Command, Stdio};

use mcl_dissector::script;

use crate::scratch;

/// What tshark prints about a capture. It fails if Lua or tshark complains.
pub(crate) fn tshark(capture: &Path, arguments: &[&str]) -> String {
    let settings = scratch("settings");
    std::fs::create_dir_all(&settings).unwrap();
    let mut command = Command::new("tshark");
    command.env("WIRESHARK_CONFIG_DIR", &settings);
    command.env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
    let script = format!("lua_script:{}", script().display());
    command.args(["-n", "-X", &script, "-r"]).arg(capture);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    // It warns root, who runs the tests where namespaces need it.
    let complaints: Vec<_> = complaints
        .lines()
        .filter(|line| !line.starts_with("Running as user"))
        .collect();
    assert!(
        output.status.success() && complaints.is_empty(),
        "tshark {arguments:?} on {}: {}: {complaints:?}",
        capture.display(),
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = text.lines().find(|line| line.contains("Lua Error"));
    assert_eq!(error, None, "{}", capture.display());
    text
}

/// A line per packet, the named fields between bars; of several values, all with commas.
pub(crate) fn fields(capture: &Path, names: &[&str], more: &[&str]) -> String {
    let mut arguments = vec!["-T", "fields", "-E", "separator=|", "-E", "header=y"];
    for name in names {
        arguments.extend(["-e", name]);
    }
    arguments.extend(more);
    tshark(capture, &arguments)
}
