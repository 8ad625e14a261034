//! `convoke tls`: the authority of a hub, and the certificates that it signs.

use std::path::PathBuf;
use std::process::ExitCode;

use convoke::{Address, Name, OwnAuthority};
use serde::Serialize;

use super::hub::{folder, not_started};
use crate::arguments::{InitTlsArguments, IssueTlsArguments, TlsArguments, TlsVerb};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::render;

/// The port of a hub that is not told otherwise.
const PORT: u16 = 7117;

#[derive(Serialize)]
struct Made<'a> {
    authority: String,
    hosts: &'a [String],
    address: String,
}

#[derive(Serialize)]
struct Issued<'a> {
    name: &'a str,
    certificate: String,
    key: String,
}

pub(crate) fn run(arguments: TlsArguments, json: bool) -> Result<ExitCode, Failure> {
    match arguments.what {
        TlsVerb::Init(arguments) => init(arguments, json),
        TlsVerb::Issue(arguments) => issue(arguments, json),
    }
}

fn init(arguments: InitTlsArguments, json: bool) -> Result<ExitCode, Failure> {
    // Before anything is made: half an authority would be in the way of the next try.
    OwnAuthority::check_hosts(&arguments.hosts).map_err(|error| Failure::usage(format!("--host: {error}")))?;
    let data = folder(arguments.folder.data)?;
    let there = data.join("tls/authority.pem");
    let own = match (arguments.renew, there.exists()) {
        (true, true) => OwnAuthority::open(&data),
        (true, false) => {
            let message =
                format!("`{}` is not there, so there is nothing to renew; leave --renew out", there.display());
            return Err(Failure::new(Exit::Configuration, "Configuration", message));
        }
        (false, true) => {
            let message = format!(
                "`{}` is there already, and programs may trust it; --renew makes a new certificate for the hub, signed by it",
                there.display()
            );
            return Err(Failure::new(Exit::Configuration, "Configuration", message));
        }
        (false, false) => OwnAuthority::create(&data),
    };
    let own = own.map_err(not_started)?;
    let hosts = own.certify_hub(&arguments.hosts).map_err(not_started)?;
    let host = hosts.first().cloned().unwrap_or_default();
    let (authority, address) = (own.certificate().display().to_string(), Address::Tls { host, port: PORT }.to_string());
    if json {
        let _ = output::say(&render::json(&Made { authority, hosts: &hosts, address }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let next = match arguments.renew {
        true => "A hub that runs takes the new certificate when it is told with SIGHUP.".to_owned(),
        false => format!("Give each machine a copy of {authority} and a token. There:"),
    };
    let hosts = format!("The hub's certificate is for {}.", hosts.join(", "));
    let mut lines = vec![hosts, next];
    if !arguments.renew {
        lines.push(format!(
            "convoke subscribe '#' --address {address} --authority authority.pem --token-file admin.token"
        ));
    }
    for line in lines {
        let _ = output::say(&render::escaped(&line))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn issue(arguments: IssueTlsArguments, json: bool) -> Result<ExitCode, Failure> {
    let name = Name::parse(&arguments.principal)
        .map_err(|error| Failure::from(error).about("the name of the program that the certificate is for"))?;
    let data = folder(arguments.folder.data)?;
    let own = OwnAuthority::open(&data).map_err(|error| {
        let failure = not_started(error);
        let message = format!("{}; `convoke tls init` makes an authority", failure.message);
        Failure { exit: Exit::Configuration, message, ..failure }
    })?;
    let file = |ending: &str| {
        let name = format!("{}.{ending}", name.as_str().replace('/', "-"));
        arguments.out.as_ref().map_or_else(|| PathBuf::from(&name), |out| out.join(&name))
    };
    let (certificate, key) = (file("pem"), file("key"));
    own.certify_node(name.as_str(), &certificate, &key).map_err(not_started)?;
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let line = match json {
        true => render::json(&Issued { name: name.as_str(), certificate, key }),
        false => render::escaped(&format!("--certificate-file {certificate} --key-file {key}")).into_owned(),
    };
    let _ = output::say(&line)?;
    Ok(ExitCode::SUCCESS)
}
