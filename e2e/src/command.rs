//! Programs that are run to their end.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::failure::{Failure, Result};

/// What the program printed; a failure with what it complained of if it did not succeed.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<String> {
    output_of(Command::new(program).args(arguments).stdin(Stdio::null()), None)
}

/// The same with text for its standard input.
pub(crate) fn output_with_input(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    output_of(Command::new(program).args(arguments).stdin(Stdio::piped()), Some(input))
}

/// Runs a line of shell with a variable set.
pub(crate) fn shell(line: &str, variable: &str, value: &str) -> Result<String> {
    output_of(Command::new("sh").args(["-c", line]).env(variable, value).stdin(Stdio::null()), None)
}

fn output_of(command: &mut Command, input: Option<&str>) -> Result<String> {
    let named = named(command);
    let failed = |why: String| Failure::new(format!("{named}: {why}"));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(text.as_bytes())?;
    }
    let done = child.wait_with_output()?;
    if !done.status.success() {
        return Err(failed(format!("{}: {}", done.status, String::from_utf8_lossy(&done.stderr).trim())));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn named(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
