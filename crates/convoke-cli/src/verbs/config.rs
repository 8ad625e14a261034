//! `convoke config`: checks, explains and begins the configuration of a hub.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use convoke::{Address, Authority, Certificate, TlsOptions};
use serde::Serialize;

use crate::arguments::{ConfigArguments, ConfigVerb};
use crate::exit::{Exit, Failure, reason};
use crate::log;
use crate::output::{self, Output, Reader};
use crate::render;
use crate::settings::{
    Chosen, Configuration, Environment, Flags, Mistake, Origin, Setting, Settings, Value, Wanted, pages, state_folder,
    unknown,
};
use crate::table::Table;

pub(crate) fn run(arguments: ConfigArguments, json: bool, environment: &Environment) -> Result<ExitCode, Failure> {
    match arguments.verb {
        ConfigVerb::Check { file, .. } => check(file.as_deref(), json, environment),
        ConfigVerb::Explain { key, config, .. } => explain(key.as_deref(), config.as_deref(), json, environment),
        ConfigVerb::Init { file, .. } => init(file, json, environment),
    }
}

#[derive(Serialize)]
struct Checked<'a> {
    /// `null` if there is none.
    file: Option<&'a str>,
    settings: usize,
}

fn check(named: Option<&Path>, json: bool, environment: &Environment) -> Result<ExitCode, Failure> {
    let flags = Flags::default();
    let wanted = Wanted::of(named, &flags, environment);
    // A file that is named may be meant for another machine.
    let nothing = Environment::default();
    let environment = if named.is_some() { &nothing } else { environment };
    let checked = wanted.read().and_then(|file| {
        let settings = Settings::gather(&flags, environment, file.as_ref())?;
        let here = wrong_here(&settings, file.as_ref());
        match named {
            Some(_) => here.iter().for_each(|mistake| tracing::warn!("on this machine: {mistake}")),
            None if !here.is_empty() => return Err(here),
            None => {}
        }
        Ok(file)
    });
    let file = match checked {
        Ok(file) => file,
        Err(mistakes) => {
            for mistake in mistakes {
                Failure::from(mistake).tell(json);
            }
            return Ok(ExitCode::from(Exit::Configuration as u8));
        }
    };
    let path = file.as_ref().map(|file| file.path.display().to_string());
    let settings = file.as_ref().map_or(0, |file| file.len());
    let line = match (json, &path, &wanted) {
        (true, path, _) => render::json(&Checked { file: path.as_deref(), settings }),
        (false, Some(path), _) => format!("`{}` is right: settings: {settings}", render::escaped(path)),
        (false, None, Wanted::First(paths)) => {
            let paths: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
            format!(
                "there is no configuration file, and needs to be none; looked for {}",
                render::escaped(&paths.join(" and "))
            )
        }
        (false, None, Wanted::Named(_)) => unreachable!("a named file is there, or a mistake"),
    };
    let _: Reader = output::say(&line)?;
    Ok(ExitCode::SUCCESS)
}

/// What of the settings is right by itself, and keeps a hub from starting on this machine. Nothing is made.
fn wrong_here(settings: &Settings, file: Option<&Configuration>) -> Vec<Mistake> {
    let wrong = |key: &str, what: &str| settings.get(key).wrong(what, file);
    let mut mistakes = Vec::new();
    let options = settings.hub();
    let data = if settings.keeps_nothing() { None } else { options.data.or_else(state_folder) };
    let own = data.is_some_and(|data| data.join("tls/server.pem").symlink_metadata().is_ok());
    let beyond = |text: &&String| match Address::parse(text) {
        Ok(Address::Tcp { host, .. }) => host.parse().is_ok_and(|ip: IpAddr| !ip.is_loopback()),
        Ok(Address::Tls { .. }) => true,
        _ => false,
    };
    match (&options.tls, options.listen.iter().find(beyond)) {
        (Some(TlsOptions { certificate, key, client_authority }), _) => {
            let (shown, believed) =
                (Certificate::read(certificate, key), client_authority.as_ref().map(Authority::read));
            for (key, error) in
                [("tls.certificate", shown.err()), ("tls.client-authority", believed.and_then(Result::err))]
            {
                mistakes.extend(error.map(|error| wrong(key, &format!(": {}", Failure::from(error).message))));
            }
        }
        (None, Some(address)) if !own => mistakes.push(wrong(
            "hub.listen",
            &format!(" has `{address}`, which takes a certificate, and there is none; `convoke tls init` makes one"),
        )),
        _ => {}
    }
    for uplink in &settings.uplinks {
        if let Err(error) = uplink.options() {
            let place = uplink.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
            let why = Failure::from(error).message;
            mistakes.push(Mistake::new(format!("{place}uplink `{}`: {why}", uplink.name)));
        }
    }
    let log = settings.log().file.map_or(Ok(()), |file| log::check(&file));
    mistakes.extend(log.err().map(|failure| wrong("log.file", &format!(": {}", failure.message))));
    mistakes
}

#[derive(Serialize)]
struct Explained<'a> {
    key: &'a str,
    /// As the file would say it; `null` for a default that depends on the machine.
    value: Option<String>,
    from: String,
    about: &'a str,
    allowed: String,
    flag: String,
    environment: String,
    change: &'a str,
}

fn explain(
    key: Option<&str>,
    config: Option<&Path>,
    json: bool,
    environment: &Environment,
) -> Result<ExitCode, Failure> {
    if let Some(key) = key.filter(|key| Setting::of(key).is_none()) {
        return Err(unknown(key));
    }
    let flags = Flags::default();
    let file = Wanted::of(config, &flags, environment).read();
    let settings = file.and_then(|file| Settings::gather(&flags, environment, file.as_ref())).map_err(first)?;
    match (key, json) {
        (Some(key), false) => {
            let lines = explained(settings.get(key));
            let _: Reader = output::say(&lines)?;
        }
        (key, true) => {
            let mut output = Output::default();
            for chosen in settings.all().iter().filter(|chosen| key.is_none_or(|key| chosen.setting.key == key)) {
                if output.line(&as_json(chosen))? == Reader::Gone {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            let _: Reader = output.flush()?;
        }
        (None, false) => {
            let mut table = Table::new(&["SETTING", "VALUE", "FROM"]);
            for chosen in settings.all() {
                table.row([chosen.setting.key.to_owned(), shown(chosen), chosen.origin.to_string()]);
            }
            for uplink in &settings.uplinks {
                let place = uplink.place.as_ref().map(ToString::to_string).unwrap_or_default();
                table.row([format!("uplink {}", uplink.name), uplink.shown(), place]);
            }
            table.print()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn explained(chosen: &Chosen) -> String {
    let setting = chosen.setting;
    let from = match &chosen.origin {
        Origin::Default => "nobody has set it".to_owned(),
        Origin::Profile => "from `membership.profile`".to_owned(),
        Origin::File(place) => format!("from {place}"),
        Origin::Environment => format!("from the environment, `{}`", setting.variable()),
        Origin::Flag => format!("from the flag `--{}`", setting.flag()),
    };
    let lines = [
        format!("{} = {}", setting.key, shown(chosen)),
        from,
        format!("{}.", setting.doc),
        format!("It must be {}.", setting.kind.allowed()),
        format!(
            "Flag `--{}`, variable `{}`; a change counts {}.",
            setting.flag(),
            setting.variable(),
            pages::change(setting)
        ),
    ];
    let lines: Vec<_> = lines.iter().map(|line| render::escaped(line)).collect();
    lines.join("\n")
}

/// Its value, or in words what it is on this machine.
fn shown(chosen: &Chosen) -> String {
    chosen.value.as_ref().map_or_else(|| format!("({})", chosen.setting.words()), Value::shown)
}

fn as_json(chosen: &Chosen) -> String {
    let setting = chosen.setting;
    render::json(&Explained {
        key: setting.key,
        value: chosen.value.as_ref().map(Value::shown),
        from: chosen.origin.to_string(),
        about: setting.doc,
        allowed: setting.kind.allowed(),
        flag: format!("--{}", setting.flag()),
        environment: setting.variable(),
        change: pages::change(setting),
    })
}

/// The first mistake, with how many more there are.
pub(super) fn first(mistakes: Vec<Mistake>) -> Failure {
    let more = mistakes.len().saturating_sub(1);
    let first = mistakes.into_iter().next().expect("what fails has a mistake");
    let failure = Failure::from(first);
    match more {
        0 => failure,
        _ => Failure { message: format!("{}; {more} more: see `convoke config check`", failure.message), ..failure },
    }
}

#[derive(Serialize)]
struct Written<'a> {
    file: &'a str,
}

fn init(file: Option<PathBuf>, json: bool, environment: &Environment) -> Result<ExitCode, Failure> {
    let template = pages::template();
    if file.as_deref() == Some(Path::new("-")) {
        let mut output = Output::default();
        if output.bytes(template.as_bytes())? == Reader::Reading {
            let _: Reader = output.flush()?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let path = match file {
        Some(file) => file,
        None => Wanted::to_begin_with(environment).ok_or_else(|| {
            let text = "there is no home folder for a hub; name a file, or `-` for stdout";
            Failure::new(Exit::Configuration, "Configuration", text)
        })?,
    };
    let shown = path.display().to_string();
    let cannot = |error: io::Error| {
        let why = match error.kind() {
            io::ErrorKind::AlreadyExists => "it is there already, and left as it is".to_owned(),
            _ => reason(&error),
        };
        Failure::new(Exit::CannotCreate, "CannotCreate", format!("configuration file `{shown}` cannot be made: {why}"))
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(cannot)?;
    }
    let mut made = File::options().create_new(true).write(true).mode(0o600).open(&path).map_err(cannot)?;
    made.write_all(template.as_bytes())
        .and_then(|()| made.sync_all())
        .map_err(|error| Failure::write(&shown, &error))?;
    let line = match json {
        true => render::json(&Written { file: &shown }),
        false => format!("wrote `{}`", render::escaped(&shown)),
    };
    let _: Reader = output::say(&line)?;
    Ok(ExitCode::SUCCESS)
}
