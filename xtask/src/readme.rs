//! The examples of the README, compiled and run from the README itself, as a
//! stranger's crate outside of the workspace that knows `mcl-udp` by its path.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What each example prints, in the order of the README.
pub(crate) const PRINTED: [&str; 3] = ["hello world", "hello world", "[0.0, 0.0, 9.81]"];

/// The Rust blocks of a Markdown text.
pub(crate) fn rust_blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in markdown.lines() {
        match (&mut open, line) {
            (None, "```rust") => open = Some(String::new()),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some(block), line) => {
                let _ = writeln!(block, "    {line}");
            }
            (None, _) => {}
        }
    }
    blocks
}

/// Writes a crate whose programs are the examples into `folder`.
pub(crate) fn write_crate(workspace: &Path, folder: &Path) -> io::Result<()> {
    let bin = folder.join("src/bin");
    fs::create_dir_all(&bin)?;
    fs::write(folder.join("Cargo.toml"), manifest(workspace))?;
    // The versions that the workspace was tested with; offline there are no others.
    fs::copy(workspace.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let readme = fs::read_to_string(workspace.join("README.md"))?;
    for (number, block) in rust_blocks(&readme).iter().enumerate() {
        fs::write(bin.join(format!("readme{number}.rs")), program(block))?;
    }
    Ok(())
}

fn manifest(workspace: &Path) -> String {
    let path = workspace.join("crates/mcl-udp");
    format!(
        "[package]\nname = \"mcl-readme\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\nmcl-udp = {{ path = {path:?} }}\nserde = {{ version = \"1\", features = [\"derive\"] }}\n\n\
         [workspace]\n"
    )
}

/// An example as a program that lives long enough for a callback to run.
fn program(block: &str) -> String {
    format!(
        "fn main() -> Result<(), Box<dyn std::error::Error>> {{\n{block}\
         std::thread::sleep(std::time::Duration::from_millis(500));\nOk(())\n}}\n"
    )
}

/// Where the programs are once `cargo build` has run in `folder` for `target`.
pub(crate) fn programs(target: &Path) -> Vec<PathBuf> {
    (0..PRINTED.len())
        .map(|number| target.join("debug").join(format!("readme{number}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use mcl_testbed::Namespace;

    use super::*;
    use crate::ci::workspace;
    use crate::test::cargo;

    #[test]
    fn blocks_are_found_between_their_fences() {
        let text = "a\n```rust\nlet x = 1;\n```\n```sh\nls\n```\n```rust\nlet y;\nlet z;\n```\n";
        assert_eq!(
            rust_blocks(text),
            ["    let x = 1;\n", "    let y;\n    let z;\n"]
        );
    }

    #[test]
    #[ignore = "needs a private network namespace: cargo xtask test"]
    fn the_readme_examples_run_outside_of_the_workspace() {
        let folder = std::env::temp_dir().join(format!("mcl-readme-{}", std::process::id()));
        write_crate(workspace(), &folder).unwrap();
        let target = workspace().join("target/readme");
        let mut build = cargo();
        build
            .args(["build", "--offline", "--quiet"])
            .current_dir(&folder);
        assert!(
            build
                .env("CARGO_TARGET_DIR", &target)
                .status()
                .unwrap()
                .success()
        );
        let namespace = Namespace::new().unwrap();
        namespace.bridge("br0").unwrap();
        for (program, printed) in programs(&target).iter().zip(PRINTED) {
            let output = namespace.run(|| Command::new(program).output()).unwrap();
            let stdout = String::from_utf8_lossy(&output.stdout);
            assert_eq!(stdout.trim(), printed, "{}: {output:?}", program.display());
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
