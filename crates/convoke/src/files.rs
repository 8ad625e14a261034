//! Files and folders that only this user can read, made so that they are there after a power cut; and what is said when the
//! system refuses one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Makes a folder that only this user can look into, and the folders above it, durably. One that is there stays as it is.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    // What is safe in a folder is lost with the folder's own name.
    missing.into_iter().filter_map(Path::parent).try_for_each(sync_names)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_names(folder: &Path) -> io::Result<()> {
    // A name alone is one in the current folder.
    #[cfg(unix)]
    File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// How a file is opened to be written that, when it is made, only this user can read.
pub(crate) fn for_its_owner() -> OpenOptions {
    let mut options = File::options();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The same error with what can be done about it, if it is the system's, which says only what is wrong.
pub(crate) fn advised(error: io::Error) -> io::Error {
    if error.raw_os_error().is_none() {
        return error;
    }
    let advice = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room, and try again",
        ErrorKind::FileTooLarge => "raise the limit (`ulimit -f`), and try again",
        ErrorKind::PermissionDenied => "let this user read and write there, or name another place",
        ErrorKind::ReadOnlyFilesystem => "name a place that can be written",
        ErrorKind::NotFound => "look whether the name is right",
        ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::AlreadyExists => {
            "something else has the name; name another place"
        }
        _ => "look after the disk, and try again",
    };
    let text = error.to_string();
    let said = text.split(" (os error").next().unwrap_or(&text);
    io::Error::new(error.kind(), format!("{said}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_with_those_above_it_and_one_that_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c");
        make_folder(&path).unwrap();
        fs::write(path.join("file"), "x").unwrap();
        make_folder(&path).unwrap();
        assert_eq!(fs::read(path.join("file")).unwrap(), b"x");
        #[cfg(unix)]
        for made in ["a", "a/b", "a/b/c"] {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(folder.path().join(made)).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o700, "{made}");
        }
        assert!(make_folder(&path.join("file/below")).is_err());
    }

    #[test]
    fn what_the_system_says_gets_an_advice_and_what_says_one_already_stays() {
        let missing = File::open("/nothing/here").unwrap_err();
        let advised_of = advised(missing);
        assert_eq!(advised_of.kind(), ErrorKind::NotFound);
        assert_eq!(advised_of.to_string(), "No such file or directory; look whether the name is right");
        let own = io::Error::new(ErrorKind::AlreadyExists, "it is not empty; move it away");
        assert_eq!(advised(own).to_string(), "it is not empty; move it away");
    }
}
