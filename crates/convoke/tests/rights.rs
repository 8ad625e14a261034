//! Story: each verb is refused without a rule that allows it, and only then, whatever the transport; and what is refused does
//! not tell whether there is something of the name.
//!
//! A verb or a transport that is new does not compile here before somebody has said how it is asked for.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use convoke::{
    CallOptions, Code, Error, HubOptions, Node, NodeOptions, Outcome, Pattern, Registration, Rights, Rule, Selector,
    Subscription, UndoOptions, Verb, Watch, WatchOptions,
};
use support::proxy::Proxy;
use support::*;

/// What there is: a value, a service, a node, a token of this name, and whatever else.
const THERE: &str = "there";

/// A name of which there is nothing.
const NOWHERE: &str = "nowhere";

/// The rules that a node is to have on a transport that knows everybody as the hub's owner.
type Given = Arc<Mutex<BTreeMap<String, Vec<Rule>>>>;

/// A hub, its owner, and somebody who may do some things only.
struct Scene {
    stage: Stage,
    admin: Node,
    given: Given,
    count: usize,
    _service: Registration,
    _there: Node,
}

/// Whether those who join over it are told apart by what they prove. Else they are the hub's owner, and have other rights
/// only if the program that holds the hub says so.
fn proves(transport: Transport) -> bool {
    match transport {
        Transport::Tcp | Transport::Tls => true,
        Transport::Mem | Transport::Unix => false,
    }
}

fn rule(text: &str) -> Rule {
    text.parse().unwrap()
}

impl Scene {
    async fn new(stage: Stage) -> Scene {
        let given = Given::default();
        if !proves(stage.transport) {
            let given = given.clone();
            stage.hub.set_admission(move |applicant| {
                let given = given.lock().unwrap();
                let rules = given.get(applicant.node.as_str());
                Ok(rules.map(|rules| Rights::new(rules, applicant.node, applicant.author)))
            });
        }
        let admin = stage.node("admin").await;
        admin.set(THERE, &1).await.unwrap();
        admin.append(THERE, &1).await.unwrap();
        admin.create_token(THERE, &[]).await.unwrap();
        let service = admin.serve(THERE, async |n: i64| Ok(n)).await.unwrap();
        let there = stage.node(THERE).await;
        Scene { stage, admin, given, count: 0, _service: service, _there: there }
    }

    /// The options of a node with these rights and no others.
    async fn options(&mut self, name: &str, rules: &[Rule]) -> NodeOptions {
        self.count += 1;
        let options = self.stage.options(name);
        if proves(self.stage.transport) {
            let token = self.admin.create_token(format!("token/{}", self.count), rules).await.unwrap();
            NodeOptions { token: Some(token), ..options }
        } else {
            self.given.lock().unwrap().insert(name.to_owned(), rules.to_vec());
            options
        }
    }

    async fn join(&mut self, rules: &[Rule]) -> Node {
        let name = format!("node/{}", self.count);
        let options = self.options(&name, rules).await;
        soon(Node::connect_with(&self.stage.address, options)).await.unwrap()
    }

    /// What comes of doing what this verb is about on this name, with these rights.
    async fn attempt(&mut self, verb: Verb, name: &str, rules: &[Rule]) -> Result<(), Error> {
        let node = self.join(rules).await;
        let address = self.stage.address.clone();
        let connect = |options| Node::connect_with(&address, options);
        match verb {
            Verb::Publish => {
                node.publish(name, &1).await?;
                soon(node.confirm()).await.map(drop)
            }
            Verb::Subscribe => soon(node.subscribe(name)).await.map(drop),
            Verb::Get => soon(node.get_value(name)).await.map(drop),
            Verb::Set => soon(node.set(name, &1)).await.map(drop),
            Verb::Delete => soon(node.delete(name)).await.map(drop),
            Verb::Watch => soon(node.watch(name)).await.map(drop),
            Verb::Serve => soon(node.serve(name, async |n: i64| Ok(n))).await.map(drop),
            Verb::Call => soon(node.call::<_, i64>(name, &1)).await.map(drop),
            Verb::Execute => soon(node.append(name, &1)).await.map(drop),
            Verb::Undo => match soon(node.undo(name, UndoOptions::default())).await {
                // That there is nothing of one's own is told to those who may undo.
                Err(Error::Refused(why)) if why.code == Code::BadRequest => Ok(()),
                other => other.map(drop),
            },
            Verb::Follow => soon(node.entries(name, 0)).await.map(drop),
            Verb::Snapshot => match soon(node.compact(name, 0)).await {
                // That there is nothing that could go is told to those who may let it go.
                Err(Error::Conflict(_) | Error::Refused(_)) => Ok(()),
                other => other.map(drop),
            },
            // As one that is not joined yet: whether a node of this name is there is told to those who may have its name.
            Verb::Join => {
                let options = NodeOptions { takeover: true, ..self.options(name, rules).await };
                soon(connect(options)).await.map(drop)
            }
            Verb::Author => {
                let author = Some(name.to_owned());
                let options = self.options("author", rules).await;
                soon(connect(NodeOptions { author, ..options })).await.map(drop)
            }
            Verb::Status => soon(node.get_value(format!("$hub/nodes/{name}"))).await.map(drop),
            Verb::Administer => soon(node.revoke_token(name)).await,
            Verb::Uplink => unreachable!("no node of a program asks for it"),
        }
    }
}

/// Whether a rule decides on this verb, over this transport, after a node has proved who it is.
fn is_decided_by_rules(verb: Verb, transport: Transport) -> bool {
    match verb {
        // Who the transport vouches for may have any name, before the program that holds the hub is asked.
        Verb::Join | Verb::Author => proves(transport),
        // Only a hub asks for it, which is a story of its own.
        Verb::Uplink => false,
        Verb::Publish
        | Verb::Subscribe
        | Verb::Get
        | Verb::Set
        | Verb::Delete
        | Verb::Watch
        | Verb::Serve
        | Verb::Call
        | Verb::Execute
        | Verb::Undo
        | Verb::Follow
        | Verb::Snapshot
        | Verb::Status
        | Verb::Administer => true,
    }
}

/// The names that a rule about this verb is to speak of, to allow it on the name.
fn names_of(verb: Verb, name: &str) -> String {
    match verb {
        Verb::Status => format!("$hub/nodes/{name}"),
        Verb::Administer => format!("$hub/tokens/{name}"),
        Verb::Publish
        | Verb::Subscribe
        | Verb::Get
        | Verb::Set
        | Verb::Delete
        | Verb::Watch
        | Verb::Serve
        | Verb::Call
        | Verb::Execute
        | Verb::Undo
        | Verb::Follow
        | Verb::Snapshot
        | Verb::Join
        | Verb::Author
        | Verb::Uplink => name.to_owned(),
    }
}

/// Everything but this verb, of which only what a node needs to be there at all.
fn all_but(verb: Verb) -> Vec<Rule> {
    let others: Vec<Verb> = Verb::ALL.iter().copied().filter(|other| *other != verb).collect();
    let mut rules: Vec<Rule> = ["#", "$hub/#"].map(|names| Rule::allow(&others, Pattern::parse(names).unwrap())).into();
    if verb == Verb::Join {
        rules.push(rule("join node/#"));
    }
    rules
}

fn is_forbidden(result: &Result<(), Error>) -> bool {
    matches!(result, Err(Error::Unauthorized(why)) if matches!(why.code, Code::Forbidden | Code::Unauthorized))
}

async fn each_verb(stage: Stage) {
    let transport = stage.transport;
    let mut scene = Scene::new(stage).await;
    for &verb in Verb::ALL.iter().filter(|verb| is_decided_by_rules(**verb, transport)) {
        let mut sentences = Vec::new();
        for name in [THERE, NOWHERE] {
            let without = all_but(verb);
            let refused = scene.attempt(verb, name, &without).await;
            assert!(is_forbidden(&refused), "{verb:?} on `{name}` without its rule: {refused:?}");
            let error = refused.unwrap_err();
            assert_eq!(error.outcome(), Outcome::NotDone, "{verb:?}");
            let sentence = error.to_string().replace(name, "NAME");
            // Each has a principal of its own.
            let sentence = sentence.split_inclusive('`').filter(|part| !part.starts_with("token/")).collect::<String>();
            sentences.push((error.code(), sentence));
            let with = [without, vec![Rule::allow(&[verb], Pattern::parse(&names_of(verb, name)).unwrap())]].concat();
            let allowed = scene.attempt(verb, name, &with).await;
            assert!(!is_forbidden(&allowed), "{verb:?} on `{name}` with its rule: {allowed:?}");
            // That somebody has this name already is told to those who may have it.
            if name == THERE && verb != Verb::Join {
                assert!(allowed.is_ok(), "{verb:?} on `{name}` with its rule: {allowed:?}");
            }
            let denied = [with, vec![Rule::deny(&[verb], Pattern::parse(&names_of(verb, "+")).unwrap())]].concat();
            let denied = scene.attempt(verb, name, &denied).await;
            assert!(is_forbidden(&denied), "{verb:?} on `{name}`, denied: {denied:?}");
        }
        assert_eq!(sentences[0], sentences[1], "{verb:?}: it must not tell whether there is something of the name");
    }
}

/// The topics of all events up to the one of `last`.
async fn topics(subscription: &mut Subscription, last: &str) -> Vec<String> {
    let mut topics = Vec::new();
    while topics.last().is_none_or(|topic| topic != last) {
        topics.push(event(subscription).await.topic().to_string());
    }
    topics
}

/// The names of all changes up to the one of `last`.
async fn names(watch: &mut Watch, last: &str) -> Vec<String> {
    let mut names = Vec::new();
    while names.last().is_none_or(|name| name != last) {
        names.push(soon(watch.next()).await.unwrap().unwrap().name.to_string());
    }
    names
}

/// Whoever asks for more than it may is told what of it is allowed, and nothing else: what it asks once, what is there at
/// first, what comes live, and what is told again.
async fn each_delivery(stage: Stage) {
    let mut scene = Scene::new(stage).await;
    let admin = scene.admin.clone();
    for &verb in Verb::ALL {
        let round = verb.word();
        let [open, closed, last] = ["open", "closed", "open/last"].map(|name| format!("{round}/{name}"));
        let names_of = match verb {
            Verb::Subscribe | Verb::Get | Verb::Watch | Verb::Serve => format!("{open}/#"),
            Verb::Status => format!("$hub/services/{open}"),
            // Nothing is delivered by these, and a journal as a whole or not.
            Verb::Publish | Verb::Set | Verb::Delete | Verb::Call | Verb::Join | Verb::Author | Verb::Administer => {
                continue;
            }
            Verb::Execute | Verb::Undo | Verb::Follow | Verb::Snapshot | Verb::Uplink => continue,
        };
        // Each is set, published and offered by somebody who may do so.
        let before = admin.set(format!("{round}/begin"), &0).await.unwrap();
        let services = [&closed, &open].map(|name| admin.serve(name, async |n: i64| Ok(n)));
        let [one, other] = services;
        let _services = (one.await.unwrap(), other.await.unwrap());
        for name in [&closed, &open] {
            admin.set(name, &1).await.unwrap();
        }
        let rules = [rule("join #"), rule(&format!("{} {names_of}", verb.word()))];
        let node = scene.join(&rules).await;
        match verb {
            Verb::Subscribe => {
                let mut all = node.subscribe("#").await.unwrap();
                for name in [&closed, &open, &last] {
                    admin.publish(name, &1).await.unwrap();
                }
                assert_eq!(topics(&mut all, &last).await, [&*open, &last]);
            }
            Verb::Get => {
                let found = soon(node.values("#")).await.unwrap();
                assert_eq!(found.iter().map(|value| value.name.as_str()).collect::<Vec<_>>(), [&*open]);
            }
            Verb::Watch => {
                let mut watches = Vec::new();
                for (all, after) in [(false, None), (true, None), (false, Some(before)), (true, Some(before))] {
                    watches.push(node.watch_with("#", WatchOptions { all, after }).await.unwrap());
                }
                for watch in &mut watches {
                    assert_eq!(names(watch, &open).await, [&*open], "what is there");
                }
                for name in [&closed, &last] {
                    admin.set(name, &2).await.unwrap();
                }
                admin.delete(&closed).await.unwrap();
                for watch in &mut watches {
                    assert_eq!(names(watch, &last).await, [&*last], "what comes live");
                }
            }
            Verb::Status => {
                let found = soon(node.values("$hub/services/#")).await.unwrap();
                let found: Vec<&str> = found.iter().map(|value| value.name.as_str()).collect();
                assert_eq!(found, [format!("$hub/services/{open}")]);
            }
            Verb::Serve => {
                let served = node.serve(&open, async |_: i64| Ok(2)).await.unwrap();
                assert!(is_forbidden(&node.serve(&closed, async |_: i64| Ok(2)).await.map(drop)));
                let options = CallOptions { select: Selector::Node(node.name().to_string()), ..Default::default() };
                let error = admin.call_with::<_, i64>(&closed, &1, options).await.unwrap_err();
                assert_eq!(error.code(), Code::NoProvider, "no call comes to it");
                drop(served);
            }
            Verb::Publish | Verb::Set | Verb::Delete | Verb::Call | Verb::Join | Verb::Author | Verb::Administer => {
                unreachable!("nothing is delivered by it")
            }
            Verb::Execute | Verb::Undo | Verb::Follow | Verb::Snapshot | Verb::Uplink => {
                unreachable!("nothing but a whole journal is delivered by it")
            }
        }
    }
}

on_every_transport! {
    async fn a_decision_that_panics_keeps_out_the_one_that_it_was_about(stage: Stage) {
        let before = stage.node("before").await;
        stage.hub.set_admission(|applicant| {
            assert!(applicant.node.as_str() != "odd", "this is what the program did not expect");
            Ok(None)
        });
        let odd = soon(Node::connect_with(&stage.address, stage.options("odd"))).await;
        let Err(Error::Unauthorized(text)) = odd else { panic!("it was let in, or refused in another way: {odd:?}") };
        assert_eq!(
            text.to_string(),
            "`odd` may not join: the program that decides on that has panicked; see its output"
        );
        // The hub is there as before, for those who have joined and for those who come.
        let after = stage.node("after").await;
        let mut all = after.subscribe("#").await.unwrap();
        before.publish("press/1", &1).await.unwrap();
        assert_eq!(soon(before.confirm()).await.unwrap(), 1);
        assert_eq!(event(&mut all).await.topic().as_str(), "press/1");
        stage.stop().await;
    }

    async fn each_verb_is_refused_without_its_rule_and_only_then(stage: Stage) {
        each_verb(stage).await;
    }

    async fn whoever_asks_for_more_than_it_may_is_told_what_of_it_is_allowed(stage: Stage) {
        each_delivery(stage).await;
    }
}

/// Somebody who reads nothing loses its rights: what was published from then on never comes to it, and the hub's end of its
/// link is gone in a second, and not only after the time for which a link may take nothing. (Over a Unix socket and in
/// memory there is nobody whose rights could be taken away: it is the same code.)
async fn who_reads_nothing_is_shut_out(transport: Transport) {
    // One more than there are gets no link, as long as the hub has not let go of the one that is shut out.
    let stage = Stage::with(transport, HubOptions { links_max: 3, ..HubOptions::default() }).await;
    let (admin, press) = (stage.node("admin").await, stage.node("press").await);
    let token = admin.create_token("eye", &[rule("join eye"), rule("subscribe #")]).await.unwrap();
    let proxy = Proxy::new(&stage.address).await;
    let options = NodeOptions { token: Some(token), ..stage.options("eye") };
    let eye = soon(Node::connect_with(&proxy.address, options)).await.unwrap();
    let mut all = eye.subscribe("#").await.unwrap();
    proxy.stall();
    let mut before = 0;
    while stage.hub.waiting_bytes() < 1 << 20 {
        press.publish_raw("before", &[0; 10_000]).await.unwrap();
        before += 1;
        if before % 50 == 0 {
            press.confirm().await.unwrap();
        }
    }
    press.confirm().await.unwrap();
    let revoked = Instant::now();
    soon(admin.revoke_token("eye")).await.unwrap();
    assert_eq!((stage.hub.nodes(), stage.hub.waiting_bytes()), (2, 0), "it is out, and nothing waits for it");
    press.publish_raw("after", &[]).await.unwrap();
    press.confirm().await.unwrap();
    let options = NodeOptions { timeout: Duration::from_secs(2), ..stage.options("other") };
    let other = soon(async {
        loop {
            match Node::connect_with(&stage.address, options.clone()).await {
                Ok(node) => return node,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    soon(other.await.leave()).await;
    let took = revoked.elapsed();
    // Who only reads nothing has ten seconds.
    assert!(took < Duration::from_secs(9), "its link was there for {took:?}");
    proxy.flow();
    until_offline(&eye).await;
    let mut seen = 0;
    while let Some(next) = all.try_next() {
        if let Ok(event) = next {
            assert_eq!(event.topic().as_str(), "before", "it was published when it had no rights any more");
            seen += 1;
        }
    }
    assert!(seen < before, "what waited for it is gone");
}

#[tokio::test]
async fn who_reads_nothing_is_shut_out_over_tcp() {
    who_reads_nothing_is_shut_out(Transport::Tcp).await;
}

#[tokio::test]
async fn who_reads_nothing_is_shut_out_over_tls() {
    who_reads_nothing_is_shut_out(Transport::Tls).await;
}
