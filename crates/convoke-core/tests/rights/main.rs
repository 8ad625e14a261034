//! Who may do what: asked for every verb, in force at once, kept over the hub's end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "../pair/mod.rs"]
mod pair;
mod returning;

use std::time::Duration;

use convoke_core::frame::{Change, Expect, Item, Set, WatchMode};
use convoke_core::node::Watched;
use convoke_core::{
    CallEnd, CallRequest, Code, Delivery, Encoding, Headers, HubConfig, Incoming, Name, NodeConfig, Pattern, Payload,
    Peer, Publication, Refusal, Rights, Rule, Selector, Standing, TokenKey,
};
use pair::World;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn key(secret: &str) -> TokenKey {
    TokenKey::derive(secret.as_bytes())
}

/// Asks as the admin, and gives the answer.
fn change(world: &mut World, principal: &str, change: &Change<'_>) -> Result<u64, Refusal> {
    ask_change(world, 0, principal, change)
}

fn ask_change(world: &mut World, who: usize, principal: &str, change: &Change<'_>) -> Result<u64, Refusal> {
    let id = world.nodes[who].state.grant(&name(principal), change).unwrap();
    world.settle();
    answer(world, who, id)
}

fn answer(world: &mut World, who: usize, id: u32) -> Result<u64, Refusal> {
    let answers = world.nodes[who].state.answers();
    answers.into_iter().find(|(of, _)| *of == id).expect("it is answered").1
}

fn create(world: &mut World, principal: &str, secret: &str, rules: &[&str]) {
    let rules = rules.to_vec();
    change(world, principal, &Change::Create { key: Some(key(secret)), rules }).unwrap();
}

fn config(node: &str, token: &str, secret: &str) -> NodeConfig {
    let mut config = NodeConfig::new(name(node));
    config.token = Some((name(token), key(secret)));
    config
}

fn join(world: &mut World, node: &str, token: &str, secret: &str) -> usize {
    world.join(config(node, token, secret), Peer::Stranger)
}

fn refused(world: &World, who: usize) -> Code {
    world.nodes[who].refused.as_ref().expect("it is not let in").code
}

fn set(world: &mut World, who: usize, name: &str, payload: Option<&str>, every: bool) -> Result<u32, Code> {
    let set =
        payload.map(|text| Set { encoding: Encoding::Text, payload: text.as_bytes(), ttl_ms: 0, ephemeral: false });
    let id =
        world.nodes[who].state.write(&[Item { name: name.as_bytes(), every, expect: Expect::Anything, set }]).unwrap();
    world.settle();
    let mut written = world.nodes[who].state.written_writes();
    let (of, result) = written.pop().expect("it is answered");
    assert_eq!(of, id);
    match result {
        Ok(wrote) => Ok(wrote.count),
        Err(not) => {
            assert!(not.certain);
            Err(not.why.code)
        }
    }
}

/// What a watch has to tell: names and payloads, and why it has ended.
fn told(world: &mut World, who: usize, id: u32) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(next) = world.nodes[who].state.take_change(id) {
        told.push(match next {
            Watched::Change(change) => {
                let payload = change.payload.map(|payload| String::from_utf8(payload.bytes.to_vec()).unwrap());
                format!("{} {}", change.name, payload.as_deref().unwrap_or("-"))
            }
            Watched::Ended(why) => why.code.word().to_owned(),
            other => format!("{other:?}"),
        });
    }
    told
}

fn watch(world: &mut World, who: usize, text: &str, mode: WatchMode) -> u32 {
    let id = world.nodes[who].state.watch(pattern(text), mode, None).unwrap();
    world.settle();
    id
}

/// What a get gives: names and payloads, or why not.
fn get(world: &mut World, who: usize, text: &str) -> Vec<String> {
    let id = world.nodes[who].state.get(pattern(text)).unwrap();
    world.settle();
    let (of, found) = world.nodes[who].state.got().remove(0);
    assert_eq!(of, id);
    match found {
        Ok(found) => found
            .into_iter()
            .map(|one| format!("{} {}", one.name, String::from_utf8(one.payload.unwrap().bytes.to_vec()).unwrap()))
            .collect(),
        Err(why) => vec![why.code.word().to_owned()],
    }
}

/// The names of the events that a subscription has to tell.
fn events(world: &mut World, who: usize, id: u32) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(next) = world.nodes[who].state.take(id) {
        match next {
            Delivery::Run(run) => events.extend(run.map(|event| event.topic().to_string())),
            Delivery::Event(event) => events.push(event.topic().to_string()),
            Delivery::Gap(_) => events.push("gap".to_owned()),
            other => events.push(format!("{other:?}")),
        }
    }
    events
}

/// Whether the hub takes an event, and to how many nodes it goes.
fn publish(world: &mut World, who: usize, topic: &str) -> Result<u64, Code> {
    let headers = Headers::new();
    let what = Publication { name: topic, encoding: Encoding::Text, payload: b"x", headers: &headers };
    world.nodes[who].state.publish(what).unwrap();
    let id = world.nodes[who].state.confirm().unwrap();
    world.settle();
    let went = answer(world, who, id).map_err(|why| why.code)?;
    world.nodes[who].state.refused().pop().map_or(Ok(went), |(_, why)| Err(why.code))
}

fn subscribe(world: &mut World, who: usize, text: &str) -> Result<u32, Code> {
    let id = world.nodes[who].state.subscribe(pattern(text), None).unwrap();
    world.settle();
    answer(world, who, id).map(|_| id).map_err(|why| why.code)
}

fn serve(world: &mut World, who: usize, service: &str) -> Result<u32, Code> {
    let id = world.nodes[who].state.serve(name(service), false).unwrap();
    world.settle();
    answer(world, who, id).map(|_| id).map_err(|why| why.code)
}

/// The code of the refusal of a call.
fn call(world: &mut World, who: usize, service: &str) -> Option<Code> {
    let request = CallRequest {
        service: name(service),
        select: Selector::Default,
        wait: false,
        timeout: Duration::from_secs(1),
        payload: Payload::text("x"),
        headers: &Headers::new(),
    };
    let now = world.now;
    world.nodes[who].state.call(&request, now).unwrap();
    world.settle();
    match world.nodes[who].state.ended_calls().pop() {
        Some((_, CallEnd::Refused(why))) => Some(why.code),
        None => None,
        other => panic!("{other:?}"),
    }
}

/// A world with an admin, who is node 0.
fn world() -> World {
    World::new(1)
}

#[test]
fn nothing_is_allowed_but_what_a_rule_allows() {
    let mut world = world();
    create(&mut world, "cam", "1", &["join cam", "publish cam/#", "deny publish cam/secret", "set,delete shelf/+"]);
    let all = subscribe(&mut world, 0, "#").unwrap();
    let cam = join(&mut world, "cam", "cam", "1");

    assert_eq!(publish(&mut world, cam, "cam/1"), Ok(1));
    assert_eq!(publish(&mut world, cam, "cam/secret"), Err(Code::Forbidden));
    assert_eq!(publish(&mut world, cam, "lamp"), Err(Code::Forbidden));
    assert_eq!(events(&mut world, 0, all), ["cam/1"]);
    assert_eq!(subscribe(&mut world, cam, "cam/#"), Err(Code::Forbidden));

    assert_eq!(set(&mut world, cam, "shelf/1", Some("x"), false), Ok(1));
    assert_eq!(set(&mut world, cam, "shelf", Some("x"), false), Err(Code::Forbidden));
    assert_eq!(set(&mut world, cam, "shelf/+", Some("y"), true), Ok(1));
    assert_eq!(
        set(&mut world, cam, "shelf/#", Some("y"), true),
        Err(Code::Forbidden),
        "it may match more than it may change"
    );
    assert_eq!(set(&mut world, cam, "shelf/1", None, false), Ok(1));
    for (pattern, mode) in [("#", WatchMode::Latest), ("$hub/#", WatchMode::All)] {
        let id = watch(&mut world, cam, pattern, mode);
        assert_eq!(told(&mut world, cam, id), ["Forbidden"], "{pattern}");
        assert_eq!(get(&mut world, cam, pattern), ["Forbidden"], "{pattern}");
    }
    assert_eq!(serve(&mut world, cam, "cam/open"), Err(Code::Forbidden));
    assert_eq!(call(&mut world, cam, "cam/open"), Some(Code::Forbidden), "whether somebody offers it is not told");
    let ping = world.nodes[cam].state.ping(Some(&name("node/0"))).unwrap();
    world.settle();
    assert_eq!(answer(&mut world, cam, ping).unwrap_err().code, Code::Forbidden);
    assert_eq!(ask_change(&mut world, cam, "cam", &Change::Rules(vec!["all #"])).unwrap_err().code, Code::Forbidden);
}

#[test]
fn a_pattern_brings_only_what_may_be_read() {
    let mut world = world();
    create(&mut world, "eye", "1", &["join eye", "subscribe,watch press/+/force", "get press/#", "deny get press/2/#"]);
    let eye = join(&mut world, "eye", "eye", "1");
    let subscribed = subscribe(&mut world, eye, "press/#").unwrap();
    for key in ["press/1/force", "press/1/speed", "press/2/force", "hall/1"] {
        set(&mut world, 0, key, Some(key), false).unwrap();
        publish(&mut world, 0, key).unwrap();
    }
    assert_eq!(events(&mut world, eye, subscribed), ["press/1/force", "press/2/force"]);
    for mode in [WatchMode::Latest, WatchMode::All] {
        let id = watch(&mut world, eye, "#", mode);
        assert_eq!(told(&mut world, eye, id), ["press/1/force press/1/force", "press/2/force press/2/force"]);
        set(&mut world, 0, "press/1/speed", Some("7"), false).unwrap();
        set(&mut world, 0, "press/1/force", None, false).unwrap();
        assert_eq!(told(&mut world, eye, id), ["press/1/force -"]);
        set(&mut world, 0, "press/1/force", Some("press/1/force"), false).unwrap();
        assert_eq!(told(&mut world, eye, id).len(), 1);
        set(&mut world, 0, "press/2/force", Some("press/2/force"), false).unwrap();
    }
    assert_eq!(get(&mut world, eye, "#"), ["press/1/force press/1/force", "press/1/speed 7"]);
}

#[test]
fn a_change_of_rights_is_in_force_at_once_for_what_waits_too() {
    let mut world = world();
    create(&mut world, "eye", "1", &["join eye", "all #"]);
    let eye = join(&mut world, "eye", "eye", "1");
    let other = {
        create(&mut world, "ear", "2", &["join ear", "all #"]);
        join(&mut world, "ear", "ear", "2")
    };
    let ids = [eye, other].map(|who| subscribe(&mut world, who, "#").unwrap());
    let watched = watch(&mut world, eye, "#", WatchMode::Latest);
    // It reads nothing, so all that follows waits for it.
    world.nodes[eye].deaf = true;
    for topic in ["press/1", "hall/1"] {
        publish(&mut world, 0, topic).unwrap();
        set(&mut world, 0, topic, Some("x"), false).unwrap();
    }
    change(&mut world, "eye", &Change::Rules(vec!["join eye", "subscribe,watch hall/#"])).unwrap();
    world.nodes[eye].deaf = false;
    world.settle();
    assert!(world.nodes[eye].state.is_joined(), "it comes back by itself");
    publish(&mut world, 0, "press/2").unwrap();
    publish(&mut world, 0, "hall/2").unwrap();
    set(&mut world, 0, "press/2", Some("x"), false).unwrap();
    assert_eq!(events(&mut world, eye, ids[0]), ["gap", "hall/2"]);
    assert_eq!(told(&mut world, eye, watched), ["hall/1 x"]);
    assert_eq!(events(&mut world, other, ids[1]), ["press/1", "hall/1", "press/2", "hall/2"], "others feel nothing");
}

/// Once a call that waited for a provider was given to one that came after its caller had lost the right to call.
#[test]
fn a_call_that_waits_ends_with_the_right_to_call() {
    let mut world = world();
    create(&mut world, "cam", "1", &["join cam", "call oven/#"]);
    let cam = join(&mut world, "cam", "cam", "1");
    let headers = Headers::new();
    let request = |service: &str| CallRequest {
        service: name(service),
        select: Selector::Default,
        wait: true,
        timeout: Duration::from_secs(60),
        payload: Payload::text("x"),
        headers: &headers,
    };
    let now = world.now;
    for service in ["oven/on", "oven/light"] {
        world.nodes[cam].state.call(&request(service), now).unwrap();
    }
    world.settle();
    change(&mut world, "cam", &Change::Rules(vec!["join cam", "call oven/light"])).unwrap();
    for service in ["oven/on", "oven/light"] {
        serve(&mut world, 0, service).unwrap();
    }
    let given: Vec<String> = world.nodes[0]
        .state
        .incoming()
        .into_iter()
        .filter_map(|incoming| match incoming {
            Incoming::Call(call) => Some(call.payload),
            _ => None,
        })
        .map(|payload| String::from_utf8(payload.bytes.to_vec()).unwrap())
        .collect();
    assert!(given.len() <= 1, "only the call that is still allowed may be given: {given:?}");
    let ended: Vec<bool> =
        world.nodes[cam].state.ended_calls().into_iter().map(|(_, end)| matches!(end, CallEnd::Uncertain(_))).collect();
    assert!(ended.contains(&true), "who called is told: {ended:?}");
}

#[test]
fn nobody_gives_more_than_it_has() {
    let mut world = world();
    create(&mut world, "boss", "1", &["join boss", "administer", "get,set lab/#", "status"]);
    create(&mut world, "root", "2", &["all #"]);
    let boss = join(&mut world, "boss", "boss", "1");
    let rules = |rules: &[&'static str]| Change::Create { key: Some(key("3")), rules: rules.to_vec() };
    assert_eq!(ask_change(&mut world, boss, "lab", &rules(&["get lab/1", "deny set lab/2", "status"])), Ok(0));
    for more in ["set hall", "get #", "delete lab/1", "all lab/#"] {
        assert_eq!(ask_change(&mut world, boss, "more", &rules(&[more])).unwrap_err().code, Code::Forbidden, "{more}");
        let to = Change::Rules(vec![more]);
        assert_eq!(ask_change(&mut world, boss, "lab", &to).unwrap_err().code, Code::Forbidden, "{more}");
    }
    let rotate = Change::Key(key("4"));
    assert_eq!(ask_change(&mut world, boss, "root", &rotate).unwrap_err().code, Code::Forbidden);
    assert_eq!(ask_change(&mut world, boss, "lab", &rotate), Ok(0));
}

#[test]
fn who_has_lost_all_rights_is_out_and_stays_out() {
    let mut world = world();
    for (principal, end) in [("a", Change::Revoke), ("b", Change::Key(key("new")))] {
        create(&mut world, principal, "old", &["join #"]);
        let node = join(&mut world, principal, principal, "old");
        assert!(world.nodes[node].state.is_joined());
        change(&mut world, principal, &end).unwrap();
        assert_eq!(refused(&world, node), Code::Unauthorized);
        let again = join(&mut world, "again", principal, "old");
        assert_eq!(refused(&world, again), Code::Unauthorized);
    }
    let with_new = join(&mut world, "b", "b", "new");
    assert!(world.nodes[with_new].state.is_joined());
}

#[test]
fn rights_survive_the_end_of_the_hub() {
    let mut world = world();
    create(&mut world, "cam", "1", &["join cam/+", "publish %node/#", "author ann"]);
    create(&mut world, "gone", "1", &["join gone"]);
    change(&mut world, "gone", &Change::Revoke).unwrap();
    world.restart_hub();
    let gone = join(&mut world, "gone", "gone", "1");
    assert_eq!(refused(&world, gone), Code::Unauthorized);
    let cam = join(&mut world, "cam/1", "cam", "1");
    assert_eq!(publish(&mut world, cam, "cam/1/x"), Ok(0));
    assert_eq!(publish(&mut world, cam, "cam/2/x"), Err(Code::Forbidden));
    let told = get(&mut world, 0, "$hub/tokens/#");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with(
            r#"$hub/tokens/cam {"rules":["allow join cam/+","allow publish %node/#","allow author ann"],"secret":true,"#
        ),
        "{told:?}"
    );
}

#[test]
fn a_node_has_a_name_and_an_author_that_its_principal_may_have() {
    let mut world = world();
    create(&mut world, "cam", "1", &["join cam/+", "author ann"]);
    let other = join(&mut world, "lamp", "cam", "1");
    assert_eq!(refused(&world, other), Code::Forbidden);
    for (author, joins) in [("ann", true), ("cam/1", true), ("bob", false)] {
        let mut config = config("cam/1", "cam", "1");
        config.author = Some(name(author));
        config.takeover = true;
        let node = world.join(config, Peer::Stranger);
        assert_eq!(world.nodes[node].refused.is_none(), joins, "{author}");
        world.detach(node);
        world.nodes[node].refused = Some(Refusal::new(Code::Left, "it is not needed any more"));
    }
}

#[test]
fn who_the_transport_vouches_for_needs_rights_and_no_token() {
    let mut world = world();
    change(&mut world, "cam", &Change::Create { key: None, rules: vec!["join cam", "publish cam/#"] }).unwrap();
    let cam = world.join(NodeConfig::new(name("cam")), Peer::Known(name("cam")));
    assert_eq!(publish(&mut world, cam, "cam/1"), Ok(0));
    assert_eq!(publish(&mut world, cam, "lamp"), Err(Code::Forbidden));
    let unknown = world.join(NodeConfig::new(name("lamp")), Peer::Known(name("lamp")));
    assert_eq!(refused(&world, unknown), Code::Unauthorized);
    create(&mut world, "eye", "1", &["join eye"]);
    let secret = world.join(NodeConfig::new(name("eye")), Peer::Known(name("eye")));
    assert_eq!(refused(&world, secret), Code::Unauthorized, "it is to prove its secret");
    let without = join(&mut world, "cam", "cam", "any");
    assert_eq!(refused(&world, without), Code::Unauthorized, "it has no secret that could be proved");
}

#[test]
fn a_program_may_decide_whom_its_hub_lets_in() {
    let mut world = world();
    world.hub.set_admission(Box::new(|applicant| match applicant.node.as_str() {
        "never" => Err(Refusal::new(Code::Forbidden, "not today")),
        "less" => {
            let rules: Vec<Rule> = vec!["publish a".parse().unwrap()];
            Ok(Some(Rights::new(&rules, applicant.node, applicant.author)))
        }
        _ => Ok(None),
    }));
    let [never, less, same] =
        ["never", "less", "same"].map(|node| world.join(NodeConfig::new(name(node)), Peer::Owner));
    assert_eq!(world.nodes[never].refused.as_ref().unwrap().text, "not today");
    assert_eq!(publish(&mut world, less, "a"), Ok(0));
    assert_eq!(publish(&mut world, less, "b"), Err(Code::Forbidden));
    assert_eq!(publish(&mut world, same, "b"), Ok(0));
}

#[test]
fn a_change_of_rights_that_makes_no_sense_is_refused() {
    let mut world = world();
    let mut why = |principal: &str, to: Change<'_>| {
        let refusal = change(&mut world, principal, &to).unwrap_err();
        (refusal.code, refusal.text.into_owned())
    };
    let new = |rules: Vec<&'static str>| Change::Create { key: Some(key("1")), rules };
    assert_eq!(why("cam", Change::Revoke), (Code::Conflict, "token `cam`: there is none of this name".to_owned()));
    let (code, text) = why("cam", new(vec!["publsh #"]));
    assert!(code == Code::BadRequest && text.starts_with("token `cam`: `publsh #` is no rule: "), "{text}");
    assert_eq!(why("cam", new(vec!["get a"; 65])), (Code::Limit, "token `cam`: it has at most 64 rules".to_owned()));
    assert_eq!(why("admin", new(vec![])).0, Code::BadRequest);
    assert_eq!(why("$hub", new(vec![])).0, Code::BadName);
    assert_eq!(why(&"x".repeat(481), new(vec![])).0, Code::BadName);
    create(&mut world, "cam", "1", &[]);
    assert_eq!(change(&mut world, "cam", &new(vec![])).unwrap_err().code, Code::Conflict);
}

#[test]
fn who_changes_its_own_rights_is_told_so_first() {
    let mut world = World::with(1, HubConfig::default());
    create(&mut world, "boss", "1", &["join boss", "administer", "all #"]);
    let boss = join(&mut world, "boss", "boss", "1");
    assert_eq!(ask_change(&mut world, boss, "boss", &Change::Rules(vec!["join boss"])), Ok(0));
    assert!(matches!(world.nodes[boss].state.standing(), Standing::Joined));
    assert_eq!(publish(&mut world, boss, "a"), Err(Code::Forbidden));
}
