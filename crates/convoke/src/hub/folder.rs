//! The folder of a hub: which hub it is, which of its starts, and its token. One hub at a time, held by a lock.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use convoke_core::{Code, HubIdentity, Refusal};
use serde::{Deserialize, Serialize};

use super::admin;
use crate::error::Error;
use crate::store::{RESERVE_STEP, Reserve, has_no_room};
use crate::token::Token;

/// The format of the folder. A hub does not start on one that it does not know.
const FORMAT: u32 = 1;

/// What a hub has at its start.
pub(super) struct Folder {
    pub(super) identity: HubIdentity,
    pub(super) token: Token,
    /// Where the store is, and the lock, to be held until the store is closed; the system lets go of it however the program
    /// ends.
    pub(super) kept: Option<(PathBuf, File)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    hub: String,
    history: String,
    epoch: u64,
    /// There was a store at an earlier start: without it this is not the folder that it was.
    #[serde(default)]
    store: bool,
}

/// Opens the folder, or makes it; counts this start, durably, before anything else happens. Without a folder the hub is a
/// new one that nobody has known before.
pub(super) fn open(path: Option<&Path>) -> Result<Folder, Error> {
    let Some(path) = path else {
        let identity = HubIdentity { hub: random()?, history: random()?, epoch: first_epoch()? };
        return Ok(Folder { identity, token: Token::generate(admin())?, kept: None });
    };
    let shown = path.display();
    let at = |what: &str| format!("data folder `{shown}`: {what}");
    make(path).map_err(|error| Error::io(at("cannot be made"), error))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = fs::metadata(path).map_err(|error| Error::io(at("cannot be looked at"), error))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o002 != 0 {
            return Err(Error::Configuration(at(&format!("everybody can write it (mode {mode:o}); make it 700"))));
        }
    }
    let mut options = File::options();
    options.create(true).read(true).write(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut lock = options.open(path.join("lock")).map_err(|error| Error::io(at("lock"), error))?;
    match lock.try_lock() {
        // For whoever finds it locked; that it is there matters to nobody else.
        Ok(()) => drop(lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()))),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let process = match lock.read_to_string(&mut holder).ok().and_then(|_| holder.parse::<u32>().ok()) {
                Some(process) => format!(" (process {process})"),
                None => String::new(),
            };
            return Err(Error::in_use(at(&format!(
                "another hub is running on it{process}; stop that one, or give this one a folder of its own with --data"
            ))));
        }
        Err(TryLockError::Error(error)) => return Err(Error::io(at("lock"), error)),
    }
    let store = path.join(crate::store::FILE);
    let has_store = store.try_exists().map_err(|error| Error::io(at(crate::store::FILE), error))?;
    let file = path.join("hub.json");
    let mut stored = match fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str::<Stored>(&text).map_err(|error| {
            incomplete(at(&format!("hub.json is not what a hub has written, put a copy back: {error}")))
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && has_store => {
            return Err(incomplete(at("there is a store and no hub.json that says whose it is; put it back")));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let (hub, history) = (hex(&random()?), hex(&random()?));
            Stored { format: FORMAT, hub, history, epoch: first_epoch()?, store: false }
        }
        Err(error) => return Err(Error::io(at("hub.json"), error)),
    };
    if stored.format != FORMAT {
        let text =
            format!("its format is {}, and this program knows {FORMAT}; use the program that wrote it", stored.format);
        return Err(Error::Configuration(at(&text)));
    }
    let id = |text: &str| unhex(text).ok_or_else(|| incomplete(at("hub.json has an id that is none; put a copy back")));
    let (hub, history) = (id(&stored.hub)?, id(&stored.history)?);
    if stored.store && !has_store {
        let text =
            format!("{} is gone, and with it all that was kept; put it back, or use a new folder", crate::store::FILE);
        return Err(incomplete(at(&text)));
    }
    stored.store = has_store;
    stored.epoch = next_epoch(stored.epoch)?;
    write(path, &stored)?;

    let token_file = path.join("admin.token");
    let token = match Token::read(&token_file) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            let token = Token::generate(admin())?;
            replace(&token_file, format!("{}\n", token.reveal()).as_bytes())
                .map_err(|error| Error::io(at("admin.token"), error))?;
            token
        }
        other => other?,
    };
    Ok(Folder {
        identity: HubIdentity { hub, history, epoch: stored.epoch },
        token,
        kept: Some((path.to_owned(), lock)),
    })
}

/// There is a store now, and is to be there at every later start.
pub(super) fn store_is_there(path: &Path) -> Result<(), Error> {
    let file = path.join("hub.json");
    let text = fs::read_to_string(&file).map_err(|error| Error::io(file.display().to_string(), error))?;
    match serde_json::from_str::<Stored>(&text) {
        Ok(stored) if !stored.store => write(path, &Stored { store: true, ..stored }),
        _ => Ok(()),
    }
}

fn write(path: &Path, stored: &Stored) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(stored).expect("plain fields can be written");
    replace_with_reserve(&path.join("hub.json"), text.as_bytes()).map_err(|error| {
        let what = if has_no_room(&error) { "hub.json cannot be written; make room on the disk" } else { "hub.json" };
        Error::io(format!("data folder `{}`: {what}", path.display()), error)
    })
}

/// [`replace`], on a full disk with room that was set aside.
fn replace_with_reserve(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let reserve = Reserve::of(file.parent().unwrap_or(Path::new(".")));
    let was = reserve.length();
    let replaced = loop {
        match replace(file, bytes) {
            Err(error) if has_no_room(&error) && reserve.give_up(RESERVE_STEP, 0) => {}
            replaced => break replaced,
        }
    };
    // The file that was replaced took as much; what is still missing is taken back when there is room.
    if reserve.length() < was {
        reserve.refill(was);
    }
    replaced
}

/// Something of the folder is missing, or not what it was.
fn incomplete(text: String) -> Error {
    Error::Refused(Refusal::new(Code::StorageFailed, text))
}

/// Makes a folder that only this user can look into, and the folders above it.
pub(crate) fn make(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes a file that only this user can read, whole or not at all, and durably.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = PathBuf::from(path);
    beside.as_mut_os_string().push(format!(".{}", std::process::id()));
    let mut options = File::options();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // Each start has another process id: on a full disk they would pile up.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    if let Some(folder) = path.parent() {
        // A name alone is one in the current folder.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Where a new hub begins to count its starts: anywhere. Incarnations are (epoch, counter), and a node takes its own to
/// whatever hub is at its address now: to a hub that begins at the same place it would be an impostor.
fn first_epoch() -> Result<u64, Error> {
    random().map(|bytes| u64::from(u32::from_le_bytes(bytes)))
}

/// Where a hub that was there before goes on. Not at the next number: if this is an older copy of its folder that was put
/// back, that is one that it had already, and its nodes come back with it.
fn next_epoch(epoch: u64) -> Result<u64, Error> {
    random().map(|bytes| epoch.wrapping_add(1 + u64::from(u16::from_le_bytes(bytes))))
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::io("random bytes for a hub's id", error.into()))?;
    Ok(bytes)
}

fn hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_stays_the_same_and_each_of_its_starts_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = open(Some(&path)).unwrap();
        let (identity, secret) = (first.identity, first.token.reveal());
        drop(first);
        let second = open(Some(&path)).unwrap();
        assert!(second.identity.epoch > identity.epoch);
        assert_eq!(HubIdentity { epoch: identity.epoch, ..second.identity }, identity);
        assert_eq!(second.token.reveal(), secret);
    }

    #[test]
    fn a_second_hub_on_one_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _first = open(Some(folder.path())).unwrap();
        let error = open(Some(folder.path())).err().unwrap();
        assert!(matches!(&error, Error::InUse(why) if why.text.contains("another hub is running")), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_a_hubs_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for (text, is_format) in [
            ("{}", false),
            ("not json", false),
            (r#"{"format":2,"hub":"","history":"","epoch":1}"#, true),
            (r#"{"format":1,"hub":"x","history":"","epoch":1}"#, false),
        ] {
            fs::write(folder.path().join("hub.json"), text).unwrap();
            let error = open(Some(folder.path())).err().unwrap();
            assert_eq!(matches!(error, Error::Configuration(_)), is_format, "{text}: {error}");
            assert_eq!(error.code() == Code::StorageFailed, !is_format, "{text}: {error}");
            assert_eq!(fs::read_to_string(folder.path().join("hub.json")).unwrap(), text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_everybody_can_write_is_refused_and_left_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let error = open(Some(folder.path())).err().unwrap();
        assert!(error.to_string().ends_with("everybody can write it (mode 777); make it 700"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_of_which_half_is_missing_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (hub, store) = (folder.path().join("hub.json"), folder.path().join(crate::store::FILE));
        drop(open(Some(folder.path())).unwrap());
        fs::write(&store, "a store").unwrap();
        // At the first start the store is made after hub.json.
        store_is_there(folder.path()).unwrap();
        fs::remove_file(&store).unwrap();
        let error = open(Some(folder.path())).err().unwrap();
        assert!(
            error
                .to_string()
                .ends_with("store.redb is gone, and with it all that was kept; put it back, or use a new folder")
        );
        fs::write(&store, "a store").unwrap();
        fs::remove_file(&hub).unwrap();
        let error = open(Some(folder.path())).err().unwrap();
        assert_eq!(error.code(), Code::StorageFailed);
        assert!(error.to_string().ends_with("there is a store and no hub.json that says whose it is; put it back"));
        assert!(!hub.exists());
    }

    #[test]
    fn a_damaged_hub_json_is_refused_like_any_other_damaged_file_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let hub = folder.path().join("hub.json");
        drop(open(Some(folder.path())).unwrap());
        let whole = fs::read_to_string(&hub).unwrap();
        for damaged in
            [String::new(), whole[..whole.len() / 2].to_owned(), whole.replace("\"hub\": \"", "\"hub\": \"x")]
        {
            fs::write(&hub, &damaged).unwrap();
            let error = open(Some(folder.path())).err().unwrap();
            assert_eq!(error.code(), Code::StorageFailed, "{error}");
            assert!(error.to_string().contains("put a copy back"), "{error}");
            assert_eq!(fs::read_to_string(&hub).unwrap(), damaged);
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("hub.json")).unwrap();
        assert!(replace(&folder.path().join("hub.json"), b"{}").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
