//! `convoke man`: the pages of the manual, made from the help.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::arguments::ManArguments;
use crate::exit::{Exit, Failure, reason};
use crate::help;
use crate::output::{self, Output};
use crate::render;

/// The section of programs.
const SECTION: &str = "1";

pub(crate) fn run(arguments: &ManArguments) -> Result<ExitCode, Failure> {
    let mut program = help::command();
    program.build();
    match &arguments.folder {
        Some(folder) => write_all(&program, folder)?,
        None => {
            let mut verb = &program;
            for word in &arguments.verb {
                verb = verb.find_subcommand(word).ok_or_else(|| {
                    Failure::usage(format!("`{word}` is no verb of `{}`; see `convoke --help`", called(verb)))
                })?;
            }
            let mut output = Output::default();
            let _ = output.bytes(&page(verb))?;
            let _ = output.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is typed to have it.
fn called(command: &Command) -> &str {
    command.get_bin_name().unwrap_or_else(|| command.get_name())
}

fn write_all(program: &Command, folder: &Path) -> Result<(), Failure> {
    let cannot = |what: &Path, error: &io::Error| {
        let message = format!("`{}` cannot be made: {}", what.display(), reason(error));
        Failure::new(Exit::CannotCreate, "CannotCreate", message)
    };
    fs::create_dir_all(folder).map_err(|error| cannot(folder, &error))?;
    let (mut todo, mut count) = (vec![program], 0);
    while let Some(command) = todo.pop() {
        let file = folder.join(format!("{}.{SECTION}", called(command).replace(' ', "-")));
        fs::write(&file, page(command)).map_err(|error| cannot(&file, &error))?;
        todo.extend(verbs(command));
        count += 1;
    }
    let line = format!("{count} pages in `{}`", folder.display());
    output::say(&render::escaped(&line)).map(|_| ())
}

/// The verbs of a command that have a page. That of `help` would be a list of all the others.
fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
}

/// One page as roff.
fn page(command: &Command) -> Vec<u8> {
    let (prose, examples) = help::parts(command);
    // What is typed in short, as the help says it: all options stand below.
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().to_owned();
    let man = Man::new(command.clone().override_usage(usage).mut_args(with_aliases));
    let mut page = Vec::new();
    let rendered = (|| {
        // Without a date: the page is as old as the program, and the same wherever it is made.
        let (title, version) = (called(command).replace(' ', "-"), env!("CARGO_PKG_VERSION"));
        writeln!(page, ".TH {title} {SECTION} \"\" \"convoke {version}\" Convoke")?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        paragraphs(&prose).to_writer(&mut page)?;
        if verbs(command).next().is_some() {
            list(command).to_writer(&mut page)?;
        }
        man.render_options_section(&mut page)?;
        shown_as_it_is("EXAMPLES", &examples).to_writer(&mut page)?;
        see_also(command).to_writer(&mut page)
    })();
    rendered.expect("memory takes all that is written");
    ascii(&String::from_utf8(page).expect("all of it is text"))
}

/// An option whose words say how else it may be written, as its help does.
fn with_aliases(option: Arg) -> Arg {
    let aliases = option.get_visible_aliases().unwrap_or_default();
    match (aliases.is_empty(), option.get_help()) {
        (false, Some(help)) => {
            let aliases: Vec<String> = aliases.iter().map(|alias| format!("--{alias}")).collect();
            let help = format!("{help} [alias: {}]", aliases.join(", "));
            option.help(help)
        }
        _ => option,
    }
}

/// The same for every program that reads roff, whatever it takes its input for.
fn ascii(page: &str) -> Vec<u8> {
    let mut plain = Vec::with_capacity(page.len());
    for character in page.chars() {
        match character {
            '…' => plain.extend_from_slice(b"..."),
            other if other.is_ascii() => plain.push(other as u8),
            other => plain.extend_from_slice(format!("\\[u{:04X}]", u32::from(other)).as_bytes()),
        }
    }
    plain
}

/// Text as paragraphs; lines that are indented stay lines.
fn paragraphs(text: &str) -> Roff {
    let mut roff = Roff::new();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        roff.control("PP", []);
        for line in paragraph.lines() {
            roff.text([roman(line)]);
        }
    }
    roff
}

/// Lines as they stand there, without the word above them.
fn shown_as_it_is(heading: &str, text: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    roff.control("nf", []);
    for line in text.lines().skip(1) {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
    roff
}

fn list(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["VERBS"]);
    for verb in verbs(command) {
        roff.control("TP", []);
        roff.text([roman(format!("{}({SECTION})", called(verb).replace(' ', "-")))]);
        roff.text([roman(verb.get_about().map(ToString::to_string).unwrap_or_default())]);
    }
    roff
}

fn see_also(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    match called(command).rsplit_once(' ') {
        Some((above, _)) => roff.text([roman(format!("{}({SECTION})", above.replace(' ', "-")))]),
        None => roff.text([roman("convoke VERB --help")]),
    };
    roff
}
