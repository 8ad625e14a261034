//! The options of the verbs for shells and manuals.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use super::CommonArguments;

#[derive(Args, Debug)]
#[command(after_help = "\
Where the script belongs:

  bash        ~/.local/share/bash-completion/completions/convoke
  zsh         _convoke in a folder of $fpath
  fish        ~/.config/fish/completions/convoke.fish
  elvish      ~/.config/elvish/lib/convoke.elv, and `use convoke` in rc.elv
  powershell  the file that $PROFILE names

It is made anew with every version of the program.

Examples:
  convoke completions bash > ~/.local/share/bash-completion/completions/convoke
  convoke completions fish > ~/.config/fish/completions/convoke.fish")]
pub(crate) struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,

    /// Means nothing here: no hub is joined
    #[arg(long, value_name = "ADDRESS", hide = true)]
    pub(crate) address: Option<String>,

    #[command(flatten)]
    pub(crate) _common: CommonArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Without --folder the page is printed as roff, as `man` reads it; without VERB it is that of the program. With --folder a \
page is written for the program, for each verb and for each verb of these, as `convoke-token-create.1`, in the place of \
what is there.

Examples:
  convoke man publish | man -l -
  convoke man --folder ~/.local/share/man/man1  then `man convoke-publish`")]
pub(crate) struct ManArguments {
    /// The verb, such as `publish` or `token create`
    #[arg(value_name = "VERB", conflicts_with = "folder")]
    pub(crate) verb: Vec<String>,

    /// Write all pages into this folder, which is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,

    /// Means nothing here: no hub is joined
    #[arg(long, value_name = "ADDRESS", hide = true)]
    pub(crate) address: Option<String>,

    #[command(flatten)]
    pub(crate) _common: CommonArguments,
}
