//! The options of the verbs about certificates.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{CommonArguments, FolderArguments};

#[derive(Args, Debug)]
#[command(after_help = "\
With certificates, what travels between a hub and its programs is encrypted, and programs know that the hub is the one \
they mean. A hub listens beyond its own machine only with one.

Examples:
  convoke tls init --host press-hall.example    once, then start the hub
  convoke tls init --renew                      within 397 days, then tell the hub with SIGHUP
  convoke tls issue press/1                     a program that needs no token")]
pub(crate) struct TlsArguments {
    #[command(subcommand)]
    pub(crate) what: TlsVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TlsVerb {
    /// Make an authority and, signed by it, the hub's certificate
    Init(InitTlsArguments),
    /// Make a certificate by which a program joins without a token
    Issue(IssueTlsArguments),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Writes `authority.pem`, `authority.key`, `server.pem` and `server.key` to the folder `tls` of the hub's folder, where the \
hub finds them when it starts, and prints the line by which a program on another machine joins. That one needs a copy of \
`authority.pem`; nobody needs one of `authority.key`. The authority is valid for 10 years, the certificate for 397 days.

The certificate is for the names and addresses that --host gives, for the name of this machine, localhost, 127.0.0.1 and \
::1; with --renew also for those of the one before.

Examples:
  convoke tls init --host press-hall.example --host 192.0.2.7
  convoke tls init --renew")]
pub(crate) struct InitTlsArguments {
    /// A name or an address by which programs reach this machine; may be given several times
    #[arg(long = "host", value_name = "HOST")]
    pub(crate) hosts: Vec<String>,

    /// Make a new certificate, signed by the authority that is there
    #[arg(long)]
    pub(crate) renew: bool,

    #[command(flatten)]
    pub(crate) folder: FolderArguments,

    #[command(flatten)]
    pub(crate) _common: CommonArguments,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Writes `NAME.pem` and `NAME.key`, slashes in the name as dashes. What who shows them may do is what the hub has been told \
of NAME; the certificate of `admin` is the hub's owner's. It is valid for 397 days.

Examples:
  convoke tls issue press/1
  convoke subscribe 'press/#' --address tls://press-hall.example --authority authority.pem --certificate-file press-1.pem \
--key-file press-1.key")]
pub(crate) struct IssueTlsArguments {
    /// Whose certificate it is
    #[arg(value_name = "NAME")]
    pub(crate) principal: String,

    /// Write the two files into this folder [default: the current one]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) folder: FolderArguments,

    #[command(flatten)]
    pub(crate) _common: CommonArguments,
}
