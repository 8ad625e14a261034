//! Joining a hub as the command line says, and leaving it again however a verb ends.

use std::convert::Infallible;
use std::env;
use std::hash::{BuildHasher, RandomState};
use std::io::IsTerminal as _;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use convoke::{
    Address, Authority, Certificate, Code, Error, MasterWish, Name, Node, NodeOptions, Refusal, Standing, Token,
};

use crate::arguments::NodeArguments;
use crate::duration;
use crate::exit::{Exit, Failure, address, who};
use crate::render;
use crate::screen::Part;
use crate::screen::progress::{Progress, Unit, beside};
use crate::signals::Signals;

/// The name of the hub's own token, with which everybody may be the author.
const ADMIN: &str = "admin";

/// How a hub ends what it says to a program without a token.
const REMEDY: &str = "; give it the hub's token file";

/// How long to wait for an answer unless told otherwise.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A person who waits longer than this for a hub that is not there is told so, while it is still waited for: the same
/// script may have started it a moment ago.
const NOTE_TIME: Duration = Duration::from_secs(1);

/// How much longer than its time limit a verb may take: for what the hub says about a call whose time is over, and for a
/// goodbye, which a hub that stands still does not read anyway.
pub(crate) const MOMENT: Duration = Duration::from_millis(100);

/// How often it is looked whether another run has let go of its outbox.
const OTHER_RUN_TIME: Duration = Duration::from_millis(20);

/// Joins, does `work`, and leaves, whether the work succeeds, fails or is ended by a signal.
pub(crate) async fn with_node(
    arguments: &NodeArguments,
    signals: &Signals,
    work: impl AsyncFnOnce(&Node) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    // Who comes and goes need not tell how busy its host is.
    let options = NodeOptions { share_load: false, ..options(arguments)? };
    join(arguments, options, signals, work).await
}

/// As [`with_node`], for a person: who is answerable and what the node is called are one name. Who proves to be somebody is
/// that one.
pub(crate) async fn with_person(
    arguments: &NodeArguments,
    signals: &Signals,
    work: impl AsyncFnOnce(&Node) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let mut options = NodeOptions { share_load: false, ..options(arguments)? };
    let token = options.token.as_ref().is_some_and(|token| token.name().as_str() != ADMIN);
    match (&arguments.name, &arguments.author, &options.author) {
        (Some(name), None, _) if !token && options.certificate.is_none() => options.author = Some(name.clone()),
        (None, _, Some(author)) => options.name.clone_from(author),
        _ => {}
    }
    join(arguments, options, signals, work).await
}

/// As [`with_node`], for a node that calls can go to.
pub(crate) async fn with_provider(
    arguments: &NodeArguments,
    master: MasterWish,
    signals: &Signals,
    work: impl AsyncFnOnce(&Node) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let options = NodeOptions { share_load: true, master, ..options(arguments)? };
    join(arguments, options, signals, work).await
}

/// As [`with_node`], for a node with an outbox, which can do its work without a hub. One run has an outbox at a time; the
/// next waits for it.
pub(crate) async fn with_outbox(
    arguments: &NodeArguments,
    folder: &Path,
    what: &str,
    signals: &Signals,
    work: impl AsyncFnOnce(&Node) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let (address, begun) = (address(&arguments.address)?, Instant::now());
    let options = NodeOptions { share_load: false, outbox: Some(folder.to_owned()), ..options(arguments)? };
    tokio::select! {
        ended = async {
            let mut is_told = false;
            let node = loop {
                match Node::open(&address, options.clone()) {
                    Err(Error::InUse(why)) if begun.elapsed() < patience(arguments) => {
                        if !std::mem::replace(&mut is_told, true) {
                            tracing::info!("waiting for another run: {why}");
                        }
                        tokio::time::sleep(OTHER_RUN_TIME).await;
                    }
                    opened => break opened.map_err(|error| Failure::from(error).about(what))?,
                }
            };
            tracing::info!("`{}` has its outbox", node.name());
            let ended = work(&node).await;
            node.leave().await;
            ended
        } => ended,
        // What is posted is safe, and what was sent is asked about by the next run.
        signal = signals.received() => Ok(signal.exit_code()),
    }
}

async fn join(
    arguments: &NodeArguments,
    options: NodeOptions,
    signals: &Signals,
    work: impl AsyncFnOnce(&Node) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let node = Node::open(address(&arguments.address)?, options)?;
    let ended = tokio::select! {
        ended = async {
            joined(&node, arguments).await?;
            tokio::select! {
                ended = work(&node) => ended,
                why = shut_out(&node) => Err(why),
            }
        } => ended,
        signal = signals.received() => Ok(signal.exit_code()),
    };
    match &ended {
        Err(failure) if failure.exit == Exit::Unavailable => {
            // Who has not answered by now is not waited for any more.
            let _ = tokio::time::timeout(MOMENT, node.leave()).await;
        }
        _ => node.leave().await,
    }
    ended
}

/// Waits for something that the hub or a node is to answer, for as long as `--timeout` says.
pub(crate) async fn within<T>(
    arguments: &NodeArguments,
    what: &str,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Failure> {
    let timeout = patience(arguments);
    let _waiting = Progress::of(what, Unit::Time);
    match tokio::time::timeout(timeout, answer).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(_) => {
            let message = format!("{what}: no answer within {}", duration::shown(timeout));
            Err(Failure::new(Exit::Unavailable, Code::TimedOut.word(), message))
        }
    }
}

/// The same for what may happen although the answer does not come.
pub(crate) async fn done_within<T>(
    arguments: &NodeArguments,
    what: &str,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Failure> {
    let mut answered = false;
    let done = within(arguments, what, async {
        let answer = answer.await;
        answered = true;
        answer
    });
    let done = done.await;
    match done {
        Err(failure) if !answered => {
            Err(Failure { message: failure.message + "; it may have happened all the same", ..failure })
        }
        done => done,
    }
}

/// Waits until the node can join no more, and tells why: the hub has refused it, or another has taken its place.
pub(crate) async fn ended(node: &Node) -> Failure {
    let mut standing = node.watch_standing();
    let ended = standing.wait_for(|standing| matches!(standing, Standing::Ended(_))).await;
    match ended.as_deref() {
        Ok(Standing::Ended(why)) => why.clone().into(),
        _ => Failure::new(Exit::Unavailable, Code::Left.word(), format!("`{}` has left its hub", node.name())),
    }
}

/// Waits until the hub does not let the node in any more, since it has lost its rights. A program might wait until it
/// has them again; who typed a verb wants to know.
pub(crate) async fn shut_out(node: &Node) -> Failure {
    let mut standing = node.watch_standing();
    let shut_out = |standing: &Standing| match standing {
        Standing::Offline(Some(why)) => matches!(why.code, Code::Unauthorized | Code::Forbidden),
        _ => false,
    };
    if let Ok(Standing::Offline(Some(why))) = standing.wait_for(shut_out).await.as_deref() {
        return why.clone().into();
    }
    std::future::pending().await
}

/// How long the answer is waited for.
pub(crate) fn patience(arguments: &NodeArguments) -> Duration {
    arguments.timeout.unwrap_or(ANSWER_TIME)
}

async fn joined(node: &Node, arguments: &NodeArguments) -> Result<(), Failure> {
    let address = &arguments.address;
    tracing::info!("`{}` joins the hub at {address}", node.name());
    let timeout = patience(arguments);
    let answer = tokio::select! {
        answer = tokio::time::timeout(timeout, node.ready()) => answer,
        never = note_absence(node, address), if std::io::stderr().is_terminal() => match never {},
    };
    match answer {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(with_remedy(Failure::from(error), arguments)),
        Err(_) => Err(absence(node, arguments)),
    }
}

/// Why nothing has come from the hub for as long as `--timeout` says.
pub(crate) fn absence(node: &Node, arguments: &NodeArguments) -> Failure {
    let (address, waited) = (&arguments.address, duration::shown(patience(arguments)));
    let message = match node.standing() {
        Standing::Offline(Some(why)) => return no_hub(address, why),
        Standing::Joined => format!("the hub at {address} has not answered within {waited}"),
        _ => format!(
            "nothing at {address} has answered within {waited}; is that a hub, and does it run? --timeout waits longer"
        ),
    };
    Failure::new(Exit::Unavailable, Code::TimedOut.word(), message)
}

/// What the hub says to who has given no token, with what can be done about it in a shell.
pub(crate) fn with_remedy(failure: Failure, arguments: &NodeArguments) -> Failure {
    let given = arguments.token_file.is_some() || env::var_os("CONVOKE_TOKEN").is_some_and(|token| !token.is_empty());
    let about_tls = || ["certificate", "TLS"].iter().any(|word| failure.message.contains(word));
    if failure.kind != Code::Unauthorized.word() || given || about_tls() {
        return failure;
    }
    // The hub's own remedy is meant for programs.
    let what = failure.message.strip_suffix(REMEDY).unwrap_or(&failure.message);
    let unset = env::var_os("XDG_RUNTIME_DIR").is_none_or(|folder| folder.is_empty());
    let found = match unset && is_here(&arguments.address) {
        true => "; XDG_RUNTIME_DIR is not set here, and a hub that was started with it is found only with it",
        false => "",
    };
    let message = format!("{what}; give the hub's token with --token-file or CONVOKE_TOKEN{found}");
    Failure { message, ..failure }
}

/// Says, once, that nothing can be reached at the address and is waited for.
async fn note_absence(node: &Node, address: &str) -> Infallible {
    tokio::time::sleep(NOTE_TIME).await;
    let mut standing = node.watch_standing();
    let unreachable =
        |standing: &Standing| matches!(standing, Standing::Offline(Some(why)) if why.code == Code::Unreachable);
    if let Ok(Standing::Offline(Some(why))) = standing.wait_for(unreachable).await.as_deref() {
        let message = no_hub(address, why.clone()).message;
        beside(|| eprintln!("{}{}; waiting for it", who(Part::Warning), render::escaped(&message)));
    }
    std::future::pending().await
}

/// Whether an address is of this machine only.
fn is_here(address: &str) -> bool {
    match Address::parse(address) {
        Ok(Address::Tcp { host, .. }) => host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
        Ok(Address::Unix(_)) => true,
        _ => false,
    }
}

/// On this machine there is a way out; elsewhere, the reason helps more.
fn no_hub(address: &str, why: Refusal) -> Failure {
    if !is_here(address) || why.code != Code::Unreachable {
        return why.into();
    }
    let message = match why.text.contains("Permission denied") {
        true => format!("this user may not ask the hub at {address}; ask who has started it for a way"),
        false => format!("no hub answers at {address}; start one with `convoke hub`"),
    };
    Failure::new(Exit::Unavailable, Code::Unreachable.word(), message)
}

fn options(arguments: &NodeArguments) -> Result<NodeOptions, Failure> {
    if arguments.token.is_some() {
        return Err(Failure::usage(
            "a token is not given as an argument, where every user of the machine can read it; \
             write it to a file and use --token-file, or set CONVOKE_TOKEN",
        ));
    }
    let token = match &arguments.token_file {
        Some(path) => Some(Token::read(path).map_err(unusable)?),
        None => token_of_the_environment()?,
    };
    let shown = arguments.certificate_file.as_ref().zip(arguments.key_file.as_ref());
    let certificate =
        shown.map(|(certificate, key)| Certificate::read(certificate, key)).transpose().map_err(unusable)?;
    // Who has a token or a certificate of its own is who it says.
    let principal = match (&certificate, &token) {
        (Some(certificate), _) => certificate.name(),
        (None, token) => token.as_ref().map(|token| token.name().clone()),
    };
    let author = match (&arguments.author, principal) {
        (Some(author), _) => Some(Name::parse(author)?),
        (None, Some(principal)) if principal.as_str() != ADMIN => Some(principal),
        (None, _) => login_name(),
    };
    let name = match &arguments.name {
        Some(name) => Name::parse(name)?.to_string(),
        None => passing_name(author.as_ref()),
    };
    let mut options = NodeOptions::new(name);
    options.author = author.map(|author| author.to_string());
    // A token that was given is to be proved.
    options.prefer_unix = token.is_none();
    options.token = token;
    options.authority = arguments.authority.as_ref().map(Authority::read).transpose().map_err(unusable)?;
    options.certificate = certificate;
    // Nobody who types looks after all others.
    options.master = MasterWish::Never;
    options.program = Some(concat!("convoke ", env!("CARGO_PKG_VERSION")).to_owned());
    Ok(options)
}

/// The token in `CONVOKE_TOKEN`, which only this user and the system's administrator can read.
fn token_of_the_environment() -> Result<Option<Token>, Failure> {
    let Some(text) = env::var_os("CONVOKE_TOKEN").filter(|text| !text.is_empty()) else { return Ok(None) };
    let text = text.to_string_lossy();
    Token::parse(&text)
        .map(Some)
        .map_err(|error| Failure::new(Exit::Configuration, "Configuration", format!("`CONVOKE_TOKEN`: {error}")))
}

/// A file that the command line names cannot be used.
fn unusable(error: Error) -> Failure {
    Failure { exit: Exit::Configuration, kind: "Configuration", ..Failure::from(error) }
}

/// Who is logged in, if the environment says so and it can be a name.
fn login_name() -> Option<Name> {
    ["USER", "LOGNAME"]
        .into_iter()
        .filter_map(|variable| env::var(variable).ok())
        .filter_map(|user| Name::parse(&user).ok())
        .find(|name| !name.is_reserved())
}

/// A name that no other node has: verbs come and go, many at a time. The standard library seeds its hash tables from the
/// system's randomness, which is enough not to meet.
fn passing_name(author: Option<&Name>) -> String {
    let unique = format!("cli-{:010x}", RandomState::new().hash_one(std::process::id()) >> 24);
    let of_author = author.map(|author| format!("{author}/{unique}")).filter(|name| Name::parse(name).is_ok());
    of_author.unwrap_or(unique)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What joins at this address, and waits for so long.
    fn arguments(address: &str, timeout: Duration) -> NodeArguments {
        NodeArguments {
            address: address.to_owned(),
            name: None,
            author: None,
            token_file: None,
            token: None,
            authority: None,
            certificate_file: None,
            key_file: None,
            timeout: Some(timeout),
        }
    }

    #[tokio::test]
    async fn a_hub_that_stands_still_is_not_waited_for_beyond_the_time_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hub");
        let hub = tokio::net::UnixListener::bind(&path).expect("it listens");
        let limit = Duration::from_secs(60);
        let arguments = arguments(&format!("unix://{}", path.display()), limit);
        let signals = Signals::listen(crate::signals::HangUp::Ends).expect("signals");
        let verb = with_node(&arguments, &signals, async |_| Ok(ExitCode::SUCCESS));
        let stand_still = async {
            let (link, _) = hub.accept().await.expect("it dials");
            link.readable().await.expect("it says hello");
            // From here on nothing happens any more but that time passes.
            tokio::time::pause();
            (link, tokio::time::Instant::now())
        };
        let (ended, (_link, stood_still)) = tokio::join!(verb, stand_still);
        assert_eq!(ended.expect_err("it never joined").exit, Exit::Unavailable);
        assert!(stood_still.elapsed() < limit + MOMENT * 2, "{:?}", stood_still.elapsed());
    }

    #[test]
    fn verbs_that_come_and_go_have_names_of_their_own() {
        let ann = Name::parse("ann").expect("a name");
        let (one, other) = (passing_name(Some(&ann)), passing_name(Some(&ann)));
        assert_ne!(one, other);
        assert!(one.starts_with("ann/cli-") && Name::parse(&one).is_ok(), "{one}");
        let long = Name::parse(&"x".repeat(512)).expect("a name");
        assert!(passing_name(Some(&long)).starts_with("cli-"));
    }

    #[test]
    fn that_a_hub_may_not_be_asked_is_not_that_there_is_none() {
        let said = |why: &str| no_hub("unix:///run/hub", Refusal::new(Code::Unreachable, why.to_owned())).message;
        assert_eq!(
            said("no hub answers at unix:///run/hub: Permission denied (os error 13)"),
            "this user may not ask the hub at unix:///run/hub; ask who has started it for a way"
        );
        assert!(
            said("no hub answers at unix:///run/hub: Connection refused").ends_with("start one with `convoke hub`")
        );
    }
}
