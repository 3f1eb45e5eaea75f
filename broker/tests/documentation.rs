//! The table of flags in `docs/running.md` is the one that the program would print.

use std::fmt::Write;
use std::path::Path;

use clap::{Arg, CommandFactory};
use cmq_broker::config::Cli;

const BEGIN: &str =
    "<!-- flags: written by `CMQ_UPDATE=1 cargo test -p cmq-broker --test documentation` -->\n";
const END: &str = "<!-- end of flags -->\n";

#[test]
fn flags_are_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/running.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page marks where the table begins");
    let (_, after) = rest.split_once(END).expect("the page marks where the table ends");
    let wanted = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("CMQ_UPDATE").is_some() {
        std::fs::write(&path, wanted).unwrap();
    } else {
        let command = "CMQ_UPDATE=1 cargo test -p cmq-broker --test documentation";
        assert!(page == wanted, "the flags in docs/running.md are out of date: {command}");
    }
}

#[test]
fn every_flag_has_an_environment_variable() {
    for flag in flags() {
        let wanted = format!("CMQ_{}", flag.get_id().as_str().to_uppercase());
        assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(wanted.as_str()), "{}", flag.get_id());
    }
}

fn flags() -> Vec<Arg> {
    let mut command = Cli::command();
    command.build();
    let own = |flag: &&Arg| !["help", "version"].contains(&flag.get_id().as_str());
    command.get_opts().filter(own).cloned().collect()
}

fn table() -> String {
    let mut table = "| Flag | Environment | Default | What |\n|---|---|---|---|\n".to_owned();
    for flag in flags() {
        let name = flag.get_long().expect("flags have long names");
        let values = flag.get_possible_values();
        let value = if values.is_empty() {
            flag.get_value_names().expect("flags take values").join(" ")
        } else {
            values.iter().map(|value| value.get_name()).collect::<Vec<_>>().join("\\|")
        };
        let variable = flag.get_env().and_then(|name| name.to_str()).unwrap_or_default();
        let defaults: Vec<_> =
            flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = if defaults.is_empty() { String::new() } else { format!("`{}`", defaults.join(" ")) };
        let help = flag.get_help().expect("flags have a help line").to_string();
        writeln!(table, "| `--{name} {value}` | `{variable}` | {default} | {help} |")
            .expect("writing to a string cannot fail");
    }
    table
}
