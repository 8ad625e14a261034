//! Rules: what a principal may do, or may not, on the names of a pattern.

use std::fmt;
use std::str::FromStr;

use super::{Verb, asked};
use crate::name::{Name, Pattern};

/// A word of a rule's pattern that stands for the name of the node that the principal joined as.
const NODE: &str = "%node";

/// A word of a rule's pattern that stands for the author that the node named.
const AUTHOR: &str = "%author";

/// What a rule says when its pattern is left out, for the verbs that concern the hub itself only.
const HUB: &str = "$hub/#";

/// Something that a principal may do, or may not, on the names of a pattern.
///
/// As text it is `allow` or `deny`, verbs with commas between them or `all`, and a pattern: `allow publish,subscribe cam/#`.
/// In the pattern the word `%node` stands for the name of the node, and `%author` for its author. `status` and
/// `administer` need no pattern. Written without its first word it allows.
///
/// ```
/// use convoke_core::Rule;
///
/// let rule: Rule = "deny publish,set cam/+/secret".parse()?;
/// assert_eq!(rule.to_string(), "deny publish,set cam/+/secret");
/// assert_eq!("publish data/%node/#".parse::<Rule>()?.to_string(), "allow publish data/%node/#");
/// # Ok::<(), convoke_core::RuleError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Rule {
    deny: bool,
    /// A bit for each verb.
    verbs: u32,
    pattern: Pattern,
}

/// Why text is no rule: one sentence for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError(String);

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RuleError {}

impl Rule {
    /// A rule that allows these verbs on the names of a pattern.
    pub fn allow(verbs: &[Verb], pattern: Pattern) -> Rule {
        Rule { deny: false, verbs: bits(verbs), pattern }
    }

    /// A rule that forbids these verbs on the names of a pattern, whatever other rules allow.
    pub fn deny(verbs: &[Verb], pattern: Pattern) -> Rule {
        Rule { deny: true, verbs: bits(verbs), pattern }
    }

    /// Whether it forbids.
    pub fn is_deny(&self) -> bool {
        self.deny
    }

    /// Whether it speaks of this verb.
    pub fn is_about(&self, verb: Verb) -> bool {
        self.verbs & bit(verb) != 0
    }

    /// The names that it is about, as it was written.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The same rule with the opposite effect.
    #[must_use]
    pub fn denied(self) -> Rule {
        Rule { deny: true, ..self }
    }

    /// All names that it may be about, whoever it is resolved for: a name has any number of words.
    pub(super) fn widest(&self) -> Pattern {
        let before: Vec<&str> = self.pattern.words().take_while(|word| !matches!(*word, NODE | AUTHOR)).collect();
        if before.len() == self.pattern.words().count() {
            return self.pattern.clone();
        }
        let widest = [&before[..], &["#"]].concat().join("/");
        Pattern::from_bytes(widest.as_bytes()).expect("it is no longer than the pattern, and `#` ends it")
    }

    /// What it says for a node of this name and author. None if that is too long to be a pattern: there are no names that
    /// it could be about.
    pub(super) fn resolve(&self, node: &Name, author: &Name) -> Option<Rule> {
        let text = self.pattern.as_str();
        if !self.pattern.words().any(|word| word == NODE || word == AUTHOR) {
            return Some(self.clone());
        }
        let words = text.split('/').map(|word| match word {
            NODE => node.as_str(),
            AUTHOR => author.as_str(),
            other => other,
        });
        let resolved = words.collect::<Vec<_>>().join("/");
        // `#` may stand for nothing: what is too long with it is a name without it.
        let whole = || resolved.strip_suffix("/#").and_then(|name| Pattern::from_bytes(name.as_bytes()).ok());
        let pattern = Pattern::from_bytes(resolved.as_bytes()).ok().or_else(whole)?;
        Some(Rule { pattern, ..*self })
    }
}

fn bit(verb: Verb) -> u32 {
    1 << verb as u32
}

fn bits(verbs: &[Verb]) -> u32 {
    verbs.iter().fold(0, |bits, verb| bits | bit(*verb))
}

fn every() -> u32 {
    bits(Verb::ALL)
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Rule, RuleError> {
        let shown = text.escape_debug();
        let mut rest = text.trim();
        let mut deny = false;
        if let Some((effect @ ("allow" | "deny"), after)) = rest.split_once(' ') {
            (deny, rest) = (effect == "deny", after.trim_start());
        }
        let (words, pattern) = match rest.split_once(' ') {
            Some((words, pattern)) => (words, Some(pattern.trim_start())),
            None => (rest, None),
        };
        let mut verbs = 0;
        for word in words.split(',') {
            verbs |= match word {
                "all" => every(),
                word => bit(verb(word).ok_or_else(|| unknown(word, &shown.to_string()))?),
            };
        }
        let of_hub = bits(&[Verb::Status, Verb::Administer]);
        let pattern = match pattern {
            Some(pattern) => pattern,
            None if verbs & !of_hub == 0 => HUB,
            None => {
                return Err(RuleError(format!(
                    "`{shown}` says no names: a rule is verbs and a pattern, such as `publish cam/#`"
                )));
            }
        };
        let pattern = Pattern::parse(pattern).map_err(|error| RuleError(format!("`{shown}` is no rule: {error}")))?;
        let stands = |word: &str| !word.starts_with('%') || matches!(word, NODE | AUTHOR);
        if let Some(word) = pattern.words().find(|word| !stands(word)) {
            return Err(RuleError(format!(
                "`{shown}` is no rule: `{}` stands for nothing; there are `{NODE}` and `{AUTHOR}`",
                word.escape_debug()
            )));
        }
        if !deny
            && pattern.is_reserved()
            && !Verb::ALL.iter().any(|verb| verbs & bit(*verb) != 0 && asked(*verb, HUB).is_some())
        {
            return Err(RuleError(format!(
                "`{shown}` allows nothing: names that begin with `$` are the hub's own, which are read with `status`"
            )));
        }
        if verbs & !of_hub == 0 && !pattern.is_reserved() {
            return Err(RuleError(format!(
                "`{shown}` allows nothing: that is about names of the hub only; leave `{pattern}` out, or begin it with \
                 `$hub/`"
            )));
        }
        Ok(Rule { deny, verbs, pattern })
    }
}

fn verb(word: &str) -> Option<Verb> {
    Verb::ALL.iter().copied().find(|verb| verb.word() == word)
}

fn unknown(word: &str, rule: &str) -> RuleError {
    let words: Vec<&str> = Verb::ALL.iter().map(|verb| verb.word()).collect();
    let word = word.escape_debug();
    RuleError(format!("`{rule}` is no rule: `{word}` is none of the verbs {} and all", words.join(", ")))
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verbs: Vec<&str> = match self.verbs == every() {
            true => vec!["all"],
            false => Verb::ALL.iter().filter(|verb| self.is_about(**verb)).map(|verb| verb.word()).collect(),
        };
        let (effect, pattern) = (if self.deny { "deny" } else { "allow" }, self.pattern.as_str());
        // White space at the ends of a rule says nothing; that of a name is written so that it is read again.
        match pattern.trim().len() == pattern.len() {
            true => write!(f, "{effect} {} {pattern}", verbs.join(",")),
            false => write!(f, "{effect} {} {}", verbs.join(","), self.pattern.to_url()),
        }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        text.parse::<Rule>().unwrap_err().to_string()
    }

    /// A rule about ` n` was shown as one about `n`, and became that when it was given again as it was shown.
    #[test]
    fn a_rule_about_names_with_spaces_at_their_ends_is_read_again_as_it_was() {
        for text in ["allow all convoke:%20n", "deny get convoke:n/+/%20", "allow set convoke:%E3%80%80n"] {
            let rule: Rule = text.parse().unwrap();
            assert_eq!(rule.to_string(), text);
            assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule);
        }
    }

    #[test]
    fn a_rule_is_written_as_it_is_read() {
        for text in [
            "allow publish cam/1/#",
            "deny get,set,delete a b/+",
            "allow all #",
            "allow status $hub/#",
            "deny join %node/x",
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        assert_eq!("set,get  a".parse::<Rule>().unwrap().to_string(), "allow get,set a");
        assert_eq!("status".parse::<Rule>().unwrap().to_string(), "allow status $hub/#");
    }

    #[test]
    fn what_is_no_rule_is_explained() {
        assert_eq!(why("publish"), "`publish` says no names: a rule is verbs and a pattern, such as `publish cam/#`");
        assert!(why("publsh a").starts_with("`publsh a` is no rule: `publsh` is none of the verbs publish, "));
        assert!(why("publish a/#/b").starts_with("`publish a/#/b` is no rule: "));
        assert!(why("get a/%nodes").contains("`%nodes` stands for nothing; there are `%node` and `%author`"));
        assert!(why("publish,set $hub/x").contains("allows nothing: names that begin with `$` are the hub's own"));
        assert!(why("").contains("`` is none of the verbs"));
        assert!(why("allow").contains("`allow` is none of the verbs"));
    }

    #[test]
    fn the_words_of_a_node_take_its_place() {
        let (node, author) = (Name::parse("cam/1").unwrap(), Name::parse("ann").unwrap());
        let resolved = |text: &str| text.parse::<Rule>().unwrap().resolve(&node, &author).map(|rule| rule.to_string());
        assert_eq!(resolved("publish data/%node/+").as_deref(), Some("allow publish data/cam/1/+"));
        assert_eq!(resolved("deny set %author/#").as_deref(), Some("deny set ann/#"));
        assert_eq!(resolved("set x%node").as_deref(), Some("allow set x%node"));
        let long = Name::parse(&"x".repeat(512)).unwrap();
        let rule: Rule = "deny set a/%node".parse().unwrap();
        assert_eq!(rule.resolve(&long, &author), None);
        let rule: Rule = "deny set %node/#".parse().unwrap();
        let name = rule.resolve(&long, &author).unwrap();
        assert!(name.pattern().matches(&long), "what is as long as a name can be is denied too");
    }
}
