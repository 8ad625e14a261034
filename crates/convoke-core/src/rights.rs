//! Who may do what: one function, asked for every verb and at every delivery, whatever the transport.
//!
//! Rights are a link's, made when it joins from the rules of its principal and the names of its node and author, and
//! never change while it lives: when the rules of a principal change, its links are closed, with all that waits on them, and
//! its nodes come back with the rights that they have then.

use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::bug::{Bug, planted};
use crate::name::{Name, Pattern};
use crate::refusal::{Code, Refusal};

mod rule;

pub use rule::{Rule, RuleError};

macro_rules! verbs {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        /// What is asked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Verb {
            $($(#[$doc])* $name,)*
        }

        impl Verb {
            /// Every verb, in the order in which they are shown.
            pub const ALL: &'static [Verb] = &[$(Verb::$name),*];

            /// Its word in rules.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Verb::$name => $word,)*
                }
            }
        }
    };
}

verbs! {
    /// To publish events on a name.
    Publish = "publish";
    /// To receive the events of a name.
    Subscribe = "subscribe";
    /// To read the value of a name.
    Get = "get";
    /// To change the value of a name.
    Set = "set";
    /// To take the value of a name away.
    Delete = "delete";
    /// To be told how the value of a name changes.
    Watch = "watch";
    /// To offer a service of a name.
    Serve = "serve";
    /// To call a service of a name.
    Call = "call";
    /// To append commands to a journal of a name.
    Execute = "execute";
    /// To undo and do again what was done in a journal of a name.
    Undo = "undo";
    /// To read a journal of a name.
    Follow = "follow";
    /// To put a snapshot in the place of a journal's old entries, and to let these go.
    Snapshot = "snapshot";
    /// To join as a node of a name.
    Join = "join";
    /// To do things in the name of an author, other than the node itself and its principal.
    Author = "author";
    /// To read what the hub tells about itself, under `$hub/`, and to ping nodes.
    Status = "status";
    /// To give and take rights.
    Administer = "administer";
    /// To join as a node of a name that is a link of another hub: its events and commands say where they were first.
    Uplink = "uplink";
}

/// Who is on the other end of a link, as it was proved when the link joined, and what it may do.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The name of the token, or of the user that the transport vouches for.
    pub name: Name,
    /// What it may do on this link.
    pub rights: Rights,
}

impl Principal {
    /// The refusal of what this principal may not do; `what` says what was tried. Whether the name exists is not said.
    pub(crate) fn forbidden(&self, what: &str, verb: Verb, name: &str) -> Refusal {
        let text = match asked(verb, name) {
            None => format!("{what}: names that begin with `$` are the hub's own"),
            Some(verb) => format!("{what}: the rights of `{}` do not allow `{} {name}`", self.name, verb.word()),
        };
        Refusal::new(Code::Forbidden, text)
    }
}

/// Rules in force: what no rule allows is forbidden, and what one denies is forbidden whatever others allow.
#[derive(Clone, PartialEq, Eq)]
pub struct Rights(Arc<[Rule]>);

/// How rights decide, and by which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// This rule allows it.
    Allowed(&'a Rule),
    /// This rule denies it.
    Denied(&'a Rule),
    /// No rule allows it.
    Unruled,
    /// Names that begin with `$` are the hub's own: nobody else publishes, sets, deletes or serves there.
    Reserved,
}

static EVERYTHING: LazyLock<Rights> = LazyLock::new(|| {
    let pattern = |text: &str| Pattern::parse(text).expect("it is a pattern");
    Rights(Arc::new([Rule::allow(Verb::ALL, pattern("#")), Rule::allow(Verb::ALL, pattern("$hub/#"))]))
});

impl Rights {
    /// What these rules say for a node of this name and author.
    pub fn new(rules: &[Rule], node: &Name, author: &Name) -> Rights {
        Rights(rules.iter().filter_map(|rule| rule.resolve(node, author)).collect())
    }

    /// Whatever there is, but what only the hub itself may do.
    pub fn everything() -> Rights {
        EVERYTHING.clone()
    }

    /// The rules, with the names of node and author in their places.
    pub fn rules(&self) -> &[Rule] {
        &self.0
    }

    /// How it is decided on one name, and by which rule. Looks at each rule once.
    pub fn judge(&self, verb: Verb, name: &str) -> Verdict<'_> {
        let Some(verb) = asked(verb, name) else { return Verdict::Reserved };
        let mut verdict = Verdict::Unruled;
        for rule in self.0.iter() {
            if rule.is_about(verb) && rule.pattern().matches_text(name) {
                if rule.is_deny() {
                    if planted(Bug::DenyOfPatternsIgnored) && rule.pattern().as_name().is_none() {
                        continue;
                    }
                    return Verdict::Denied(rule);
                }
                if verdict == Verdict::Unruled {
                    verdict = Verdict::Allowed(rule);
                }
            }
        }
        verdict
    }

    /// Whether there may be a name of the pattern on which it is allowed. Each name is asked for by itself then.
    pub fn allow_some(&self, verb: Verb, pattern: &Pattern) -> bool {
        let Some(verb) = asked(verb, pattern.as_str()) else { return false };
        let about = |rule: &&Rule| rule.is_about(verb);
        let denied = |rule: &Rule| rule.is_deny() && rule.pattern().covers(pattern);
        self.0.iter().filter(about).any(|rule| !rule.is_deny() && rule.pattern().overlaps(pattern))
            && !self.0.iter().filter(about).any(denied)
    }

    /// Whether who has these rights may give them on as this rule: nobody gives what it does not have.
    pub fn may_give(&self, rule: &Rule) -> bool {
        let given = |verb: &&Verb| rule.is_about(**verb) && asked(**verb, rule.pattern().as_str()).is_some();
        // Who it is given to may take any name that the rules of its token let it join by, of any number of words.
        let widest = rule.widest();
        rule.is_deny() || Verb::ALL.iter().filter(given).all(|verb| self.allow_all(*verb, &widest))
    }

    /// Whether it is allowed on all names of the pattern, by one rule.
    pub fn allow_all(&self, verb: Verb, pattern: &Pattern) -> bool {
        let Some(verb) = asked(verb, pattern.as_str()) else { return false };
        let about = |rule: &&Rule| rule.is_about(verb);
        let denied = |rule: &Rule| rule.is_deny() && rule.pattern().overlaps(pattern);
        self.0.iter().filter(about).any(|rule| !rule.is_deny() && rule.pattern().covers(pattern))
            && !self.0.iter().filter(about).any(denied)
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter()).finish()
    }
}

/// Which verb rules are asked for: reading what is the hub's own is a verb by itself. None for what only the hub may do.
fn asked(verb: Verb, name: &str) -> Option<Verb> {
    if !name.starts_with('$') {
        return Some(verb);
    }
    match verb {
        Verb::Publish | Verb::Set | Verb::Delete | Verb::Serve | Verb::Join | Verb::Author | Verb::Uplink => None,
        // The hub has no journals of its own.
        Verb::Execute | Verb::Undo | Verb::Follow | Verb::Snapshot => None,
        Verb::Get | Verb::Watch | Verb::Subscribe | Verb::Status => Some(Verb::Status),
        Verb::Call | Verb::Administer => Some(verb),
    }
}

/// Whether `principal` may do `verb` on `name`.
pub fn allow(principal: &Principal, verb: Verb, name: &str) -> bool {
    matches!(principal.rights.judge(verb, name), Verdict::Allowed(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(rules: &[&str]) -> Rights {
        let rules: Vec<Rule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        Rights::new(&rules, &Name::parse("cam/1").unwrap(), &Name::parse("ann").unwrap())
    }

    fn allowed(rights: &Rights, verb: Verb, name: &str) -> bool {
        allow(&Principal { name: Name::parse("x").unwrap(), rights: rights.clone() }, verb, name)
    }

    #[test]
    fn nothing_is_allowed_but_what_a_rule_allows() {
        assert!(!allowed(&rights(&[]), Verb::Publish, "a"));
        let rights = rights(&["publish cam/#", "get,watch recipe/+"]);
        assert!(allowed(&rights, Verb::Publish, "cam") && allowed(&rights, Verb::Publish, "cam/1/x"));
        assert!(allowed(&rights, Verb::Watch, "recipe/a"));
        assert!(!allowed(&rights, Verb::Subscribe, "cam/1") && !allowed(&rights, Verb::Set, "recipe/a"));
        assert!(!allowed(&rights, Verb::Get, "recipe") && !allowed(&rights, Verb::Get, "recipe/a/b"));
    }

    #[test]
    fn what_a_rule_denies_no_other_allows() {
        for rules in [["all #", "deny publish cam/+/secret"], ["deny publish cam/+/secret", "all #"]] {
            let rights = rights(&rules);
            assert!(!allowed(&rights, Verb::Publish, "cam/1/secret"));
            assert!(allowed(&rights, Verb::Get, "cam/1/secret") && allowed(&rights, Verb::Publish, "cam/1"));
            let Verdict::Denied(rule) = rights.judge(Verb::Publish, "cam/1/secret") else { panic!("it is denied") };
            assert_eq!(rule.to_string(), "deny publish cam/+/secret");
        }
    }

    #[test]
    fn the_names_of_the_hub_are_read_with_status_and_changed_by_nobody() {
        for verb in [Verb::Publish, Verb::Set, Verb::Delete, Verb::Serve, Verb::Join, Verb::Author] {
            assert_eq!(Rights::everything().judge(verb, "$hub/nodes"), Verdict::Reserved, "{verb:?}");
            assert!(allowed(&Rights::everything(), verb, "a/b"));
        }
        for verb in [Verb::Get, Verb::Watch, Verb::Subscribe] {
            assert!(allowed(&Rights::everything(), verb, "$hub/nodes/a"));
            assert!(allowed(&rights(&["status"]), verb, "$hub/nodes/a"));
            assert!(!allowed(&rights(&["all #", "get,watch,subscribe $hub/#"]), verb, "$hub/nodes/a"));
        }
    }

    #[test]
    fn a_node_has_the_rights_of_its_name_and_author() {
        let rights = rights(&["publish data/%node/#", "set by/%author/+"]);
        assert!(allowed(&rights, Verb::Publish, "data/cam/1/x") && !allowed(&rights, Verb::Publish, "data/cam/2/x"));
        assert!(allowed(&rights, Verb::Set, "by/ann/x") && !allowed(&rights, Verb::Set, "by/bob/x"));
    }

    #[test]
    fn a_rule_for_any_node_is_given_by_who_has_all_that_its_name_may_make_of_it() {
        let rights = rights(&["all team/#", "set w/+/x", "join +", "set,get v/#", "deny set v/a/b/x"]);
        let gives = |rule: &str| rights.may_give(&rule.parse().unwrap());
        assert!(gives("publish team/%node/x") && gives("set team/1/%author/#") && gives("set w/+/x"));
        assert!(gives("get v/%node/x") && gives("deny set v/%node/x"));
        for rule in
            ["set w/%node/x", "set w/%author/x", "join %node", "set v/%node/x", "publish %node", "all team1/%node"]
        {
            assert!(!gives(rule), "{rule}");
        }
    }

    #[test]
    fn a_pattern_is_allowed_in_part_or_wholly() {
        let pattern = |text: &str| Pattern::parse(text).unwrap();
        let rights = rights(&["get cam/#", "deny get cam/+/secret", "set a/+"]);
        for (text, some, all) in [
            ("cam/1/x", true, true),
            ("cam/1/secret", false, false),
            ("cam/#", true, false),
            ("#", true, false),
            ("cam/1", true, true),
            ("+/1/+", true, false),
            ("lamp/#", false, false),
            ("$hub/#", false, false),
        ] {
            assert_eq!(rights.allow_some(Verb::Get, &pattern(text)), some, "{text}");
            assert_eq!(rights.allow_all(Verb::Get, &pattern(text)), all, "{text}");
        }
        assert!(rights.allow_all(Verb::Set, &pattern("a/+")) && !rights.allow_all(Verb::Set, &pattern("a/#")));
    }
}
