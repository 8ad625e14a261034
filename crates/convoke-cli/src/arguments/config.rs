//! The command line of `convoke config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::CommonArguments;

#[derive(Args, Debug)]
#[command(after_help = "\
What a hub does can be said by flags, by environment variables and in a file; `convoke config explain` lists all of it. \
The file is that of --config or CONVOKE_CONFIG, else `convoke.toml` in the hub's folder, else /etc/convoke/convoke.toml.

Examples:
  convoke config init                           write a file to begin with
  convoke config check                          is it right?
  convoke config explain limits.links           what counts, and where that is said")]
pub(crate) struct ConfigArguments {
    #[command(subcommand)]
    pub(crate) verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Say what is wrong with a configuration file: a line for each mistake
    #[command(after_help = "\
Each mistake is a line `FILE:LINE:COLUMN: what is wrong, and what is allowed`, on stderr; the exit code is 78 then. The \
environment is checked too, unless a file is named. Files that it names and that cannot be used on this machine are a \
mistake too; of a file that is named, which may be meant for another, only a warning.

Examples:
  convoke config check
  convoke config check press.toml")]
    Check {
        /// The file [default: the one that the hub would read]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,

        #[command(flatten)]
        _common: CommonArguments,
    },
    /// Say what counts for a setting, and where it is said
    #[command(after_help = "\
Without a key all settings are listed. What is shown is what a hub would be started with here and now; one that runs \
already may have been given flags.

Examples:
  convoke config explain
  convoke config explain limits.links")]
    Explain {
        /// The setting, as SECTION.KEY
        #[arg(value_name = "KEY")]
        key: Option<String>,

        /// Read this configuration file, and no other [env: CONVOKE_CONFIG]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,

        #[command(flatten)]
        _common: CommonArguments,
    },
    /// Write a configuration file to begin with: every setting with its default, as comments
    #[command(after_help = "\
A file that is there already is left alone.

Examples:
  convoke config init                           in the hub's folder, where the hub looks for it
  convoke config init press.toml
  convoke config init -                         on stdout")]
    Init {
        /// The file to write, `-` for stdout [default: `convoke.toml` in the hub's folder]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,

        #[command(flatten)]
        _common: CommonArguments,
    },
}
