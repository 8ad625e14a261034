//! The options of the verbs about what a hub keeps.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{CommonArguments, FolderArguments, NodeArguments};

#[derive(Args, Debug)]
#[command(after_help = "\
A backup is one file, and can be made while the hub runs. All other verbs are for a hub that is stopped.

Examples:
  convoke store backup monday.backup
  convoke store verify monday.backup
  convoke store restore monday.backup --data /srv/convoke
  convoke store verify --data /srv/convoke")]
pub(crate) struct StoreArguments {
    #[command(subcommand)]
    pub(crate) what: StoreVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreVerb {
    /// Write a backup of all that is kept, also while the hub runs
    Backup(BackupArguments),
    /// Look through all that is kept, or a backup, and say what is in it
    Verify(VerifyArguments),
    /// Make a hub's folder of a backup
    Restore(RestoreArguments),
    /// Keep what is whole of a damaged store, and lose the rest
    Repair(RepairArguments),
    /// Make the store's file as small as it can be
    Compact(CompactArguments),
}

#[derive(Args, Debug)]
#[command(after_help = "\
With --data the hub is the one of that folder: if it runs, it gives the backup itself, at --address; if not, its files are \
read. Without --data it is the one at --address, or, where none is named, the one of the usual folder. A hub that runs goes \
on meanwhile; all in the backup is as of one moment, and what was acknowledged before is in it. Only the hub's owner gets one.

The backup is one file, which is there when it is whole, and never takes the place of another. All values, journals and \
tokens with their rules are in it: keep it as safe as the hub's folder. The admin token, the folder `tls` and `convoke.toml` \
are not.

Examples:
  convoke store backup monday.backup
  convoke store backup monday.backup --address tls://press-hall.example --authority authority.pem --token-file admin.token
  convoke store backup monday.backup --data /srv/convoke")]
pub(crate) struct BackupArguments {
    /// The file to be written; it must not be there yet
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) folder: FolderArguments,

    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Checks all that a hub checks when it starts, each row of the store, and each journal by the hashes of its entries, from the \
first to the last; of a backup each byte. Nothing is changed, whatever is found.

If something is damaged, that is said with the place of it, and the exit code is 65.

Examples:
  convoke store verify
  convoke store verify --data /srv/convoke
  convoke store verify monday.backup")]
pub(crate) struct VerifyArguments {
    /// A backup to look through, instead of a hub's folder, whatever --data says
    #[arg(value_name = "FILE")]
    pub(crate) backup: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) folder: FolderArguments,

    #[command(flatten)]
    pub(crate) _common: CommonArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
The folder must be empty, or not there yet. The backup is looked through first.

The hub is the same as before, and what is in it is another history: who followed a journal further than it goes now is \
told so and must decide, and who watches values gets them all anew. The hub makes a new admin token when it is started, unless \
a copy of the file `admin.token` is put into the folder; so with `tls` and `convoke.toml`.

Examples:
  convoke store restore monday.backup
  convoke store restore monday.backup --data /srv/convoke")]
pub(crate) struct RestoreArguments {
    /// The backup
    #[arg(value_name = "FILE")]
    pub(crate) backup: PathBuf,

    #[command(flatten)]
    pub(crate) folder: FolderArguments,

    #[command(flatten)]
    pub(crate) _common: CommonArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
A backup is better, if there is one: what was acknowledged may be lost here. Kept is what is certainly whole: values, and of \
each journal the entries before the first that is not. What would be kept and lost is said first, and nothing is done without \
--accept-loss. The damaged files are moved into a folder `damaged-1` (or -2, …) in the hub's folder, and none is deleted.

What is left is another history: who followed a journal further than it goes now is told so and must decide. A store that \
is whole is left as it is.

Examples:
  convoke store repair
  convoke store repair --accept-loss --data /srv/convoke")]
pub(crate) struct RepairArguments {
    /// Do it: what is damaged is lost
    #[arg(long)]
    pub(crate) accept_loss: bool,

    #[command(flatten)]
    pub(crate) folder: FolderArguments,

    #[command(flatten)]
    pub(crate) _common: CommonArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
The store uses room again that is free in its file, and gives much of it back when a hub starts; this gives back all of it. \
Interrupted, even by a power cut, it has moved some of what is kept, and lost nothing.

Examples:
  convoke store compact
  convoke store compact --data /srv/convoke")]
pub(crate) struct CompactArguments {
    #[command(flatten)]
    pub(crate) folder: FolderArguments,

    #[command(flatten)]
    pub(crate) _common: CommonArguments,
}
