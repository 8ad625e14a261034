//! The flags of `convoke hub`, one for each setting.

use std::ffi::OsString;

use clap::error::Error;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::{Kind, SECTIONS, SETTINGS, Setting};

/// What was given on the command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags(Vec<(&'static Setting, Vec<OsString>)>);

impl Flags {
    /// What was given for a setting; several only where that makes a list.
    pub(super) fn of(&self, setting: &Setting) -> Option<&[OsString]> {
        self.0.iter().find(|(given, _)| given.key == setting.key).map(|(_, values)| values.as_slice())
    }

    /// Says it as if it had been given, if it was not.
    pub(crate) fn or(&mut self, key: &str, value: &str) {
        let setting = Setting::of(key).expect("the caller knows the table");
        if self.of(setting).is_none() {
            self.0.push((setting, vec![value.into()]));
        }
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags, Error> {
        let given = |setting: &'static Setting| {
            let values = matches.get_many::<OsString>(setting.key)?;
            Some((setting, values.cloned().collect()))
        };
        Ok(Flags(SETTINGS.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Flags::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.args(SETTINGS.iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args(command)
    }
}

fn argument(setting: &'static Setting) -> Arg {
    let several = if matches!(setting.kind, Kind::Addresses) {
        "; may be given several times, or with commas between"
    } else {
        ""
    };
    let help = format!("{}{several} [default: {}] [env: {}]", setting.doc, setting.words(), setting.variable());
    let argument = Arg::new(setting.key)
        .long(setting.flag())
        .value_name(setting.kind.placeholder())
        .value_parser(value_parser!(OsString))
        .allow_negative_numbers(true)
        .help(help);
    let argument = match setting.kind {
        Kind::Addresses => argument.action(ArgAction::Append).visible_alias("address"),
        // Alone it means everything.
        Kind::Memory => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        _ => argument,
    };
    match SECTIONS.iter().find(|(section, _)| *section == setting.section()) {
        Some((section, about)) if *section != "hub" => argument.help_heading(*about),
        _ => argument,
    }
}
