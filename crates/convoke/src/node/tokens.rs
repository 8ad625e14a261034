//! Who may do what: tokens with rules, made and changed by a node that may.

use convoke_core::frame;
use convoke_core::{Name, Rule};

use super::Node;
use crate::error::Error;
use crate::token::Token;

/// A node whose rights allow `administer` makes and changes tokens; a node on a Unix socket of the hub's user, in its process,
/// or with its admin token may. Each of these returns when the change is kept durably and in force: links that joined
/// with the token are closed, with all that waits on them, and come back with the rights that they have then. What the hub
/// knows of a token stands under `$hub/tokens/`; its secret is not among it, and leaves the program only in a [`Token`].
///
/// All of them fail with [`Error::Unauthorized`] if the rights of this node do not allow it, or if it has not itself what it
/// wants to give; with [`Error::Conflict`] if there is such a token already or none; with [`Error::Refused`] at a limit (10,000
/// tokens, 64 rules each) or for a rule that is none; with [`Error::BadName`]; and with [`Error::Offline`] without a link. Not
/// cancel safe: a change that was cancelled may have happened. One whose link is cut meanwhile may have happened too;
/// doing it again does no harm, or says that it is done.
impl Node {
    /// Makes a token with a new secret. Who proves it may do what the rules allow, and nothing else: it cannot even join
    /// unless one says `join` with a name.
    ///
    /// ```
    /// # async fn run() -> Result<(), convoke::Error> {
    /// # use convoke::{Hub, HubOptions, Node};
    /// # let hub = Hub::start(HubOptions { listen: vec!["mem://tokens".into()], ..Default::default() }).await?;
    /// let admin = Node::connect("mem://tokens", "admin").await?;
    /// let rules = ["join cam/#".parse()?, "publish %node/#".parse()?, "deny publish %node/secret".parse()?];
    /// let token = admin.create_token("cam", &rules).await?;
    /// assert_eq!(token.name().as_str(), "cam");
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// See above.
    pub async fn create_token(&self, name: impl AsRef<str>, rules: &[Rule]) -> Result<Token, Error> {
        let token = Token::generate(Name::parse(name.as_ref())?)?;
        let texts = texts(rules);
        let rules = texts.iter().map(String::as_str).collect();
        self.change_token(token.name(), &frame::Change::Create { key: Some(token.key()), rules }).await?;
        Ok(token)
    }

    /// The same without a secret, for those whom a client certificate of this name identifies.
    ///
    /// # Errors
    ///
    /// See above.
    pub async fn create_certificate_rights(&self, name: impl AsRef<str>, rules: &[Rule]) -> Result<(), Error> {
        let texts = texts(rules);
        let rules = texts.iter().map(String::as_str).collect();
        self.change_token(&Name::parse(name.as_ref())?, &frame::Change::Create { key: None, rules }).await
    }

    /// Gives a token other rules, in the place of those that it has.
    ///
    /// # Errors
    ///
    /// See above.
    pub async fn set_token_rules(&self, name: impl AsRef<str>, rules: &[Rule]) -> Result<(), Error> {
        let texts = texts(rules);
        let rules = texts.iter().map(String::as_str).collect();
        self.change_token(&Name::parse(name.as_ref())?, &frame::Change::Rules(rules)).await
    }

    /// Gives a token a new secret; the old one is worth nothing any more.
    ///
    /// # Errors
    ///
    /// See above.
    pub async fn rotate_token(&self, name: impl AsRef<str>) -> Result<Token, Error> {
        let token = Token::generate(Name::parse(name.as_ref())?)?;
        self.change_token(token.name(), &frame::Change::Key(token.key())).await?;
        Ok(token)
    }

    /// Takes a token away, with all its rights.
    ///
    /// # Errors
    ///
    /// See above.
    pub async fn revoke_token(&self, name: impl AsRef<str>) -> Result<(), Error> {
        self.change_token(&Name::parse(name.as_ref())?, &frame::Change::Revoke).await
    }

    async fn change_token(&self, name: &Name, change: &frame::Change<'_>) -> Result<(), Error> {
        self.request(|state| state.grant(name, change)).await.map(drop)
    }
}

fn texts(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(Rule::to_string).collect()
}
