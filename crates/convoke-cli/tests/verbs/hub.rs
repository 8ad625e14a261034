//! `convoke hub`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::story::{Story, run};

#[test]
fn a_hub_says_where_it_listens_and_ends_when_it_is_told_to() {
    for (signal, code) in [(Signal::TERM, 0), (Signal::INT, 130)] {
        let mut story = Story::with_hub();
        story.hub().signal(signal);
        story.take_hub().ended().is(code, "listening tcp://HUB\n", "");
    }
}

#[test]
fn listen_may_be_given_several_times_and_address_is_the_same() {
    let story = Story::without_hub();
    let socket = format!("unix://{}", story.path("hub.sock").display());
    let hub = story.start(["hub", "--memory", "--listen", "127.0.0.1:0", "--address", &socket]);
    hub.prints("listening tcp://127.0.0.1:").prints(&format!("listening {socket}"));
    let ended = story.run(["ping", "--address", &socket]);
    assert_eq!((ended.code(), ended.stderr()), (0, String::new()));
    hub.signal(Signal::TERM);
    assert_eq!(hub.ended().code(), 0);
}

#[test]
fn what_a_hub_keeps_is_in_the_users_state_folder() {
    let story = Story::with_hub();
    assert!(story.path("state/convoke/admin.token").is_file());
    let mut elsewhere = story.convoke(["hub", "--listen", "127.0.0.1:0"]);
    elsewhere.env_remove("HOME").env_remove("XDG_STATE_HOME");
    run(elsewhere).is(
        78,
        "",
        "convoke: there is no home folder to keep the hub's data in; name a folder with --data, or use --memory\n",
    );
}

#[test]
fn a_hub_in_memory_leaves_nothing_behind() {
    let story = Story::without_hub();
    let hub = story.start(["hub", "--memory", "--listen", "127.0.0.1:0"]);
    hub.prints("listening");
    assert!(!story.path("state").exists());
}

#[test]
fn a_second_hub_on_one_folder_or_one_address_is_refused() {
    let story = Story::with_hub();
    let ended = story.run(["hub", "--listen", "127.0.0.1:0"]);
    assert_eq!(ended.code(), 75);
    let why = format!("another hub is running on it (process {}); stop that one, or ", story.hub().id());
    assert!(ended.stderr().contains(&why), "{}", ended.stderr());
    let ended = story.run(["hub", "--memory", "--listen", story.address()]);
    assert_eq!(ended.code(), 75);
    assert!(ended.stderr().contains("listening on tcp://HUB: another program"), "{}", ended.stderr());
}

#[test]
fn a_hub_does_not_listen_where_others_could_listen_in() {
    let ended = Story::without_hub().run(["hub", "--memory", "--listen", "0.0.0.0:0"]);
    assert_eq!((ended.code(), ended.stdout()), (78, String::new()));
    assert!(ended.stderr().contains("not a loopback address"), "{}", ended.stderr());
    assert!(ended.stderr().contains("`convoke tls init`"), "{}", ended.stderr());
}

#[test]
fn a_hub_does_not_start_on_what_it_cannot_read() {
    let story = Story::without_hub();
    let data = story.path("data").display().to_string();
    let arguments = ["hub", "--listen", "127.0.0.1:0", "--data", &data];
    let hub = story.start(arguments);
    hub.prints("listening");
    hub.signal(Signal::TERM);
    assert_eq!(hub.ended().code(), 0);
    std::fs::write(story.path("data/store.redb"), "no store").unwrap();
    let ended = story.run(arguments);
    let said = ended.stderr();
    assert_eq!((ended.code(), said.lines().count()), (65, 1), "{said}");
    assert!(said.starts_with(&format!("convoke: `{data}/store.redb` is corrupt: ")), "{said}");
    assert_eq!(std::fs::read(story.path("data/store.redb")).unwrap(), b"no store");
}

#[test]
fn a_folder_that_cannot_be_made_is_told() {
    let story = Story::without_hub();
    let file = story.file("file", b"");
    let ended = story.run(["hub", "--listen", "127.0.0.1:0", "--data", &format!("{file}/data")]);
    let advice = "something else has the name; name another place";
    ended.is(73, "", &format!("convoke: data folder `{file}/data`: cannot be made: Not a directory; {advice}\n"));
}

#[test]
fn the_environment_says_what_no_flag_says() {
    let story = Story::without_hub();
    let mut command = story.convoke(["hub"]);
    command.env("CONVOKE_LISTEN", "127.0.0.1:0").env("CONVOKE_DATA", story.path("here")).env("CONVOKE_JSON", "1");
    let hub = story.start_command(command);
    hub.prints(r#"{"listening":"tcp://127.0.0.1:"#);
    assert!(story.path("here/admin.token").is_file());
}

/// One that reads nothing kept the hub from closing its link in time, which then ended as if it had not obeyed.
#[test]
fn a_hub_ends_with_0_although_a_subscriber_stands_still() {
    let mut story = Story::with_hub();
    let slow = story.subscribe(["#"]);
    slow.signal(Signal::STOP);
    let long = story.file("long", &[0; 1_000_000]);
    for _ in 0..12 {
        assert_eq!(story.run(["publish", "a", "--raw", &long]).code(), 0);
    }
    story.hub().signal(Signal::TERM);
    assert_eq!(story.take_hub().ended().code(), 0);
    slow.signal(Signal::CONT);
}

#[test]
fn a_hub_whose_log_nobody_reads_is_still_a_hub() {
    let story = Story::without_hub();
    let socket = format!("unix://{}", story.path("hub.sock").display());
    // A pipe that nobody reads, as of a pager that stands still.
    let (_unread, stderr) = std::io::pipe().unwrap();
    let mut hub = story.convoke(["hub", "--memory", "--listen", &socket]);
    hub.stderr(stderr);
    let hub = story.start_command(hub);
    hub.prints("listening");
    // Each is a line in the log; together they are more than the pipe and the room for the log hold.
    for _ in 0..6000 {
        let mut stranger = UnixStream::connect(story.path("hub.sock")).unwrap();
        stranger.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert!(stranger.read(&mut [0; 8]).unwrap() > 0, "the hub says that it is no web server");
    }
    assert_eq!(story.run(["ping", "--address", &socket]).code(), 0);
    hub.signal(Signal::TERM);
    assert_eq!(hub.ended().code(), 0);
}

#[test]
fn who_comes_while_a_hub_is_starting_is_let_in() {
    let story = Story::with_hub();
    let announced = |address: &str| story.path(&format!("run/convoke/{}.json", address.replace(':', "-")));
    // A hub listens before it has announced itself.
    let starting = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = starting.local_addr().unwrap().to_string();
    let ping = story.start(["ping", "--address", &address]);
    let (node, _) = starting.accept().unwrap();
    std::fs::copy(announced(story.address()), announced(&address)).unwrap();
    let hub = TcpStream::connect(story.address()).unwrap();
    for (from, to) in [(node.try_clone().unwrap(), hub.try_clone().unwrap()), (hub, node)] {
        std::thread::spawn(move || std::io::copy(&mut &from, &mut &to));
    }
    let ended = ping.ended();
    assert_eq!((ended.code(), ended.stderr()), (0, String::new()));
}
