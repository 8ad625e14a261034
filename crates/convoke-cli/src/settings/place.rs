//! Where the configuration file is looked for.

use std::env;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::file::Configuration;
use super::mistake::Mistake;
use super::{Flags, Setting};

/// The name of the file in the hub's folder.
const NAME: &str = "convoke.toml";

/// Where an administrator puts it.
const OF_THE_MACHINE: &str = "/etc/convoke/convoke.toml";

/// Which file is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// This one, which must be there.
    Named(PathBuf),
    /// The first of these that is there, if any is.
    First(Vec<PathBuf>),
}

impl Wanted {
    /// The file of `--config`, else of `CONVOKE_CONFIG`, else `convoke.toml` in the hub's folder, else that of the machine.
    pub(crate) fn of(named: Option<&Path>, flags: &Flags, environment: &Environment) -> Wanted {
        if let Some(named) = named.map(Path::to_owned).or_else(|| environment.path("CONVOKE_CONFIG")) {
            return Wanted::Named(named);
        }
        let files = folder(flags, environment).map(|folder| folder.join(NAME)).into_iter();
        Wanted::First(files.chain([OF_THE_MACHINE.into()]).collect())
    }

    /// Where a file is to be begun: where the hub looks first.
    pub(crate) fn to_begin_with(environment: &Environment) -> Option<PathBuf> {
        match Wanted::of(None, &Flags::default(), environment) {
            Wanted::Named(path) => Some(path),
            Wanted::First(_) => folder(&Flags::default(), environment).map(|folder| folder.join(NAME)),
        }
    }

    /// Reads it.
    pub(crate) fn read(&self) -> Result<Option<Configuration>, Vec<Mistake>> {
        match self {
            Wanted::Named(path) => match Configuration::read(path)? {
                Some(configuration) => Ok(Some(configuration)),
                None => {
                    let text = format!("configuration file `{}`: No such file or directory", path.display());
                    Err(vec![Mistake::new(text)])
                }
            },
            Wanted::First(paths) => {
                for path in paths {
                    if let Some(configuration) = Configuration::read(path)? {
                        return Ok(Some(configuration));
                    }
                }
                Ok(None)
            }
        }
    }
}

/// The hub's folder, as far as it is known without a file.
fn folder(flags: &Flags, environment: &Environment) -> Option<PathBuf> {
    let data = Setting::of("hub.data").expect("there is one");
    let said = flags.of(data).and_then(|given| given.first()).map(PathBuf::from);
    said.or_else(|| environment.path(&data.variable())).or_else(state_folder)
}

/// Where a hub keeps what it must keep, by the rules of the desktop: a relative path in the variable counts as none.
pub(crate) fn state_folder() -> Option<PathBuf> {
    let folder = |variable: &str| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("convoke"))
}
