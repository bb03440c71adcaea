"""Presets: what the well-known providers want, as data. Every row names the page it comes from.

A preset fills host, port, encryption, caps and pace, and brings hints in plain words. Figures are
the providers' own where they publish them; a daily cap is in recipients a day. Does not know who
uses it.
"""

from __future__ import annotations

import difflib
from types import MappingProxyType

import msgspec

from waypost.core.errors import UsageError
from waypost.core.upstream import Encryption, Limits

STARTTLS, TLS = Encryption.STARTTLS, Encryption.TLS
PASSWORD = ("plain", "login")
PASSWORD_OR_OAUTH = ("plain", "login", "xoauth2")


ADDRESS = "the whole email address"


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One provider. `host` may hold {region} (the first of `regions` unless said) or {domain}, the
    sender's; empty: the person names it. `also`: its other hosts, with {region} too. `mx`: ends of
    the MX names of domains that it hosts.

    `username`: what the user name is, in words; `login_as`: where it is the same for everybody.

    What DNS says of it: `spf`, the domain to include ({region} as above), and `spf_at`, another one
    for hosts with this end; `dkim_selectors`, where its keys usually stand; `dkim_cnames`, what
    stands there as a CNAME, where that is known without asking the provider; `dkim_where`, the
    place that shows it. `signs_as`: the domain of its signatures where that is never the sender's.
    `envelope`: the domain that it puts into MAIL FROM in the place of the sender's, "" where it
    leaves it. `mx_record`: the MX of a domain that it hosts. {domain} and {dashed} (with dashes for
    dots) are the sender's.
    """

    name: str
    title: str
    host: str
    port: int = 587
    encryption: Encryption = STARTTLS
    logins: tuple[str, ...] = PASSWORD
    limits: Limits = Limits()
    regions: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    username: str = ADDRESS
    login_as: str = ""
    hints: tuple[str, ...] = ()
    spf: str = ""
    spf_at: tuple[tuple[str, str], ...] = ()
    dkim_selectors: tuple[str, ...] = ()
    dkim_cnames: tuple[tuple[str, str], ...] = ()
    dkim_where: str = ""
    signs_as: str = ""
    envelope: str = ""
    mx: tuple[str, ...] = ()
    mx_record: str = ""
    source: str
    dns_source: str = ""

    def host_for(self, domain: str, region: str = "") -> str:
        """The host for a sender's domain. Raises `UsageError` for a region it does not have."""
        if region and region not in self.regions:
            known = ", ".join(self.regions) or "no regions"
            raise UsageError(f"{self.title} has no region {region[:40]}: it has {known}", "region")
        return self.host.format(domain=domain, region=region or (self.regions or ("",))[0])

    def spf_for(self, host: str) -> str:
        """The domain to include for mail that goes out through `host`; "" where none is known."""
        for end, domain in self.spf_at:
            if host.endswith(end):
                return domain
        for region in self.regions:
            known = self.host.format(region=region, domain="").partition(".")[2]
            if host.endswith(f".{known}"):  # the preset's host there, or another beside it
                return self.spf.format(region=region)
        return self.spf.format(region=(self.regions or ("",))[0])

    def hosts(self) -> frozenset[str]:
        """Every host that is known to be the provider's; none that lie in the sender's domain."""
        names = (self.host, *self.also)
        regions = self.regions or ("",)
        made = (name.format(region=r, domain="") for name in names for r in regions)
        return frozenset(host for host in made if host and not host.endswith("."))


_APP_PASSWORD_GOOGLE = (
    "turn on 2-step verification and make an app password at "
    "https://myaccount.google.com/apppasswords; the account's own password does not work"
)
_SES_REGIONS = (
    *("us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1"),
    *("sa-east-1", "eu-west-1", "eu-west-2", "eu-west-3", "eu-central-1"),
    *("eu-central-2", "eu-north-1", "eu-south-1", "ap-south-1", "ap-south-2"),
    *("ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-5", "ap-northeast-1"),
    *("ap-northeast-2", "ap-northeast-3", "af-south-1", "me-south-1", "me-central-1"),
    *("il-central-1",),
)
_ALL = (
    Preset(
        name="gmail",
        title="Gmail",
        host="smtp.gmail.com",
        logins=PASSWORD_OR_OAUTH,
        limits=Limits(connections=10, recipients=100, daily_cap=500),
        hints=(_APP_PASSWORD_GOOGLE,),
        spf="_spf.google.com",
        signs_as="gmail.com",
        source="https://support.google.com/mail/answer/22839",
    ),
    Preset(
        name="google-workspace",
        title="Google Workspace",
        host="smtp.gmail.com",
        also=("smtp.googlemail.com",),
        logins=PASSWORD_OR_OAUTH,
        limits=Limits(connections=10, recipients=100, daily_cap=2000),
        hints=(_APP_PASSWORD_GOOGLE, "the sender must be the account or one of its aliases"),
        spf="_spf.google.com",
        dkim_selectors=("google",),
        mx=("google.com", "googlemail.com"),
        dkim_where="Google Admin console, Apps, Google Workspace, Gmail, Authenticate email",
        mx_record="1 smtp.google.com",
        source="https://support.google.com/a/answer/166852",
        dns_source="https://support.google.com/a/answer/174124",
    ),
    Preset(
        name="microsoft365",
        title="Microsoft 365",
        host="smtp.office365.com",
        logins=("login", "xoauth2"),
        # "3 concurrent connections, 30 messages per minute, 10,000 recipients per day"
        limits=Limits(connections=3, per_minute=30, recipients=100, daily_cap=10_000),
        hints=(
            "password logins are being switched off: connect with XOAUTH2 where you can",
            "an administrator must allow Authenticated SMTP for the mailbox "
            "(Microsoft 365 admin centre, Active users, Mail, Manage email apps)",
            "the sender must be the mailbox, or one that it has Send As for",
        ),
        spf="spf.protection.outlook.com",
        dkim_selectors=("selector1", "selector2"),
        mx=("mail.protection.outlook.com", "mx.microsoft"),
        dkim_where="Microsoft Defender portal, Email authentication settings, DKIM",
        mx_record="0 {dashed}.mail.protection.outlook.com",
        source="https://learn.microsoft.com/exchange/mail-flow-best-practices/"
        "how-to-set-up-a-multifunction-device-or-application-to-send-email-using-"
        "microsoft-365-or-office-365",
        dns_source="https://learn.microsoft.com/defender-office-365/"
        "email-authentication-dkim-configure",
    ),
    Preset(
        name="outlook",
        title="Outlook.com",
        host="smtp-mail.outlook.com",
        logins=("xoauth2",),
        # Published for subscribers alone (5,000): what others see is 300, of a new account less.
        limits=Limits(connections=3, per_minute=30, recipients=100, daily_cap=300),
        hints=(
            "password logins are switched off: XOAUTH2 only",
            "subscribers of Microsoft 365 may send to 5,000 a day: set the daily cap accordingly",
        ),
        spf="spf.protection.outlook.com",
        mx=("olc.protection.outlook.com",),
        signs_as="outlook.com",
        source="https://support.microsoft.com/office/279ee200-594c-40f0-9ec8-bb6af7735c2e",
    ),
    Preset(
        name="zoho",
        title="Zoho Mail",
        host="smtp.zoho.{region}",
        port=465,
        encryption=TLS,
        limits=Limits(connections=5),
        regions=("com", "eu", "in", "com.au", "com.cn", "jp", "sa"),
        also=("smtppro.zoho.{region}", "smtp.zohocloud.ca", "smtppro.zohocloud.ca"),
        hints=(
            "with two-factor login make an app password at https://accounts.zoho.com, Security",
            "turn on SMTP access in the settings of the mailbox",
            "paid organisations with their own domain use host smtppro.zoho.com (of their region)",
            "accounts in Canada use host smtp.zohocloud.ca",
        ),
        spf="zohomail.{region}",
        spf_at=((".zohocloud.ca", "zohocloud.ca"),),
        dkim_selectors=("zmail", "zoho"),
        mx=("zoho.com", "zoho.eu", "zoho.in", "zoho.com.au", "zoho.jp", "zohomail.com", "zoho.sa"),
        dkim_where="Zoho Mail admin console, Domains, Email configuration, DKIM",
        mx_record="10 mx.zoho.com",
        source="https://www.zoho.com/mail/help/zoho-smtp.html",
        dns_source="https://www.zoho.com/mail/help/adminconsole/spf-configuration.html",
    ),
    Preset(
        name="ses",
        title="Amazon SES",
        host="email-smtp.{region}.amazonaws.com",
        limits=Limits(connections=20, recipients=50),  # "50 recipients per message"
        regions=_SES_REGIONS,
        username="the SMTP user name, which is not the address and not the access key",
        hints=(
            "make SMTP credentials in the SES console of the same region (SMTP settings)",
            "verify the sender's domain; in the sandbox recipients must be verified too",
        ),
        spf="amazonses.com",
        mx=("amazonaws.com",),
        dkim_where="Amazon SES console, Verified identities, the domain, DKIM (three CNAMEs)",
        envelope="amazonses.com",
        source="https://docs.aws.amazon.com/ses/latest/dg/quotas.html",
        dns_source="https://docs.aws.amazon.com/ses/latest/dg/mail-from.html",
    ),
    Preset(
        name="yahoo",
        title="Yahoo Mail",
        host="smtp.mail.yahoo.com",
        port=465,
        encryption=TLS,
        logins=PASSWORD_OR_OAUTH,
        # "limited to 500 per day", "at most, 100 recipients": help.yahoo.com SLN17518
        limits=Limits(connections=5, recipients=100, daily_cap=500),
        hints=("make an app password: Account security, Generate app password",),
        mx=("yahoodns.net",),
        signs_as="yahoo.com",
        source="https://help.yahoo.com/kb/SLN4075.html",
    ),
    Preset(
        name="icloud",
        title="iCloud Mail",
        host="smtp.mail.me.com",
        limits=Limits(connections=5, daily_cap=1000),
        hints=("make an app-specific password at https://account.apple.com",),
        spf="icloud.com",
        dkim_selectors=("sig1",),
        mx=("mail.icloud.com",),
        dkim_cnames=(("sig1", "sig1.dkim.{domain}.at.icloudmailadmin.com"),),
        dkim_where="iCloud settings, Custom Email Domain",
        mx_record="10 mx01.mail.icloud.com",
        source="https://support.apple.com/102525",
        dns_source="https://support.apple.com/102374",
    ),
    Preset(
        name="fastmail",
        title="Fastmail",
        host="smtp.fastmail.com",
        port=465,
        encryption=TLS,
        limits=Limits(connections=5),
        hints=("make an app password: Settings, Privacy & Security, Connected apps",),
        spf="spf.messagingengine.com",
        dkim_selectors=("fm1", "fm2", "fm3"),
        mx=("messagingengine.com",),
        dkim_cnames=(
            ("fm1", "fm1.{domain}.dkim.fmhosted.com"),
            ("fm2", "fm2.{domain}.dkim.fmhosted.com"),
            ("fm3", "fm3.{domain}.dkim.fmhosted.com"),
        ),
        dkim_where="Fastmail, Settings, Domains",
        mx_record="10 in1-smtp.messagingengine.com",
        source="https://www.fastmail.help/hc/en-us/articles/1500000278342",
        dns_source="https://www.fastmail.help/hc/en-us/articles/360060591153",
    ),
    Preset(
        name="mailgun",
        title="Mailgun",
        host="{region}",
        regions=("smtp.mailgun.org", "smtp.eu.mailgun.org"),
        username="the SMTP login of the domain, such as postmaster@mg.example.com",
        hints=("the password is that of the SMTP credential, not the API key",),
        spf="mailgun.org",
        dkim_selectors=("mailo", "k1", "pic", "mta"),
        dkim_where="Mailgun, Sending, Domain settings, DNS records",
        source="https://documentation.mailgun.com/docs/mailgun/user-manual/"
        "sending-messages/send-smtp",
    ),
    Preset(
        name="sendgrid",
        title="SendGrid",
        host="smtp.sendgrid.net",
        also=("smtp.eu.sendgrid.net",),
        username="the word apikey",
        login_as="apikey",
        hints=("the user name is the word apikey, the password is an API key with Mail Send",),
        spf="sendgrid.net",
        dkim_selectors=("s1", "s2"),
        dkim_where="SendGrid, Settings, Sender authentication",
        envelope="sendgrid.net",
        source="https://www.twilio.com/docs/sendgrid/for-developers/sending-email/"
        "getting-started-smtp",
        dns_source="https://www.twilio.com/docs/sendgrid/ui/account-and-settings/"
        "how-to-set-up-domain-authentication",
    ),
    Preset(
        name="postmark",
        title="Postmark",
        host="smtp.postmarkapp.com",
        limits=Limits(recipients=50),
        username="the server's API token (also the password), or an SMTP token's access key",
        hints=("verify the sender signature or the domain first",),
        spf="spf.mtasv.net",
        dkim_where="Postmark, Sender signatures, the domain, DNS settings",
        envelope="pm.mtasv.net",
        source="https://postmarkapp.com/developer/user-guide/send-email-with-smtp",
        dns_source="https://postmarkapp.com/support/article/1092-how-do-i-set-up-spf-for-postmark",
    ),
    Preset(
        name="brevo",
        title="Brevo",
        host="smtp-relay.brevo.com",
        username="the login shown under SMTP & API",
        hints=("the password is an SMTP key (SMTP & API), not the account's password",),
        spf="spf.brevo.com",
        dkim_selectors=("mail", "brevo1", "brevo2"),
        dkim_cnames=(
            ("brevo1", "b1.{dashed}.dkim.brevo.com"),
            ("brevo2", "b2.{dashed}.dkim.brevo.com"),
        ),
        dkim_where="Brevo, Senders, domains and dedicated IPs, Domains",
        envelope="sender-sib.com",
        source="https://developers.brevo.com/docs/smtp-integration",
        dns_source="https://help.brevo.com/hc/en-us/articles/12163873383186",
    ),
    Preset(
        name="mailjet",
        title="Mailjet",
        host="in-v3.mailjet.com",
        limits=Limits(recipients=50),
        username="the API key",
        hints=("the user name is the API key, the password is the secret key",),
        spf="spf.mailjet.com",
        dkim_selectors=("mailjet",),
        dkim_where="Mailjet, Account settings, Sender domains, Authenticate",
        envelope="mailjet.com",
        source="https://dev.mailjet.com/smtp-relay/configuration/",
    ),
    Preset(
        name="ovh",
        title="OVH",
        host="ssl0.ovh.net",
        port=465,
        encryption=TLS,
        limits=Limits(connections=5),
        also=("smtp.mail.ovh.net", "smtp.mail.ovh.ca"),
        hints=(
            "an account may send about 200 messages an hour",
            "accounts in America and Asia use host smtp.mail.ovh.ca",
        ),
        spf="mx.ovh.com",
        mx=("ovh.net",),
        dkim_where="OVHcloud, Web Cloud, Emails, the domain, DKIM",
        source="https://help.ovhcloud.com/csm/en-mx-plan-email-configuration",
    ),
    Preset(
        name="ionos",
        title="IONOS",
        host="smtp.ionos.{region}",
        port=465,
        encryption=TLS,
        limits=Limits(connections=5),
        regions=("com", "de", "co.uk", "fr", "es", "it"),
        hints=("allow external access (POP3, IMAP, SMTP) in the settings of the mailbox",),
        spf="_spf-eu.ionos.com",
        spf_at=((".ionos.com", "_spf-us.ionos.com"),),
        dkim_selectors=("s1-ionos", "s2-ionos"),
        mx=("ionos.com", "ionos.de", "kundenserver.de", "1and1.com"),
        dkim_cnames=(
            ("s1-ionos", "s1.dkim.ionos.com"),
            ("s2-ionos", "s2.dkim.ionos.com"),
        ),
        dkim_where="IONOS, Domains and SSL, DNS",
        source="https://www.ionos.com/help/email/general-topics/"
        "settings-for-your-email-programs-imap-pop3/",
    ),
    Preset(
        name="cpanel",
        title="cPanel or other hosting",
        host="mail.{domain}",
        port=465,
        encryption=TLS,
        limits=Limits(connections=3),
        hints=(
            "the host is shown in cPanel under Email Accounts, Connect Devices",
            "hosts often cap messages an hour: ask yours, and set messages a minute accordingly",
        ),
        dkim_selectors=("default",),
        dkim_where="cPanel, Email deliverability",
        source="https://docs.cpanel.net/cpanel/email/set-up-mail-client/",
    ),
    Preset(
        name="custom",
        title="Custom",
        host="",
        hints=("host, port and encryption are in the provider's help pages, under SMTP",),
        source="https://www.rfc-editor.org/rfc/rfc8314#section-3.3",
    ),
)
PRESETS = MappingProxyType({preset.name: preset for preset in _ALL})

_ALIASES = MappingProxyType(
    {
        "googleworkspace": "google-workspace",
        "google_workspace": "google-workspace",
        "workspace": "google-workspace",
        "microsoft-365": "microsoft365",
        "m365": "microsoft365",
        "office365": "microsoft365",
        "amazon-ses": "ses",
        "amazonses": "ses",
        "outlook.com": "outlook",
        "hosting": "cpanel",
    }
)


def get(name: str) -> Preset:
    """The preset of that name, in any case. Raises `UsageError` with the nearest known name."""
    lowered = name.strip().lower()
    found = PRESETS.get(_ALIASES.get(lowered, lowered))
    if found is not None:
        return found
    near = difflib.get_close_matches(lowered, PRESETS, 1, 0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(
        f"there is no preset {lowered[:40]!r}: {hint}known are {', '.join(PRESETS)}", "preset"
    )


def for_host(host: str, domain: str = "") -> Preset | None:
    """The preset whose own host this is; smtp.gmail.com is Gmail's for its domains alone."""
    if host == "smtp.gmail.com" and domain not in ("gmail.com", "googlemail.com"):
        return PRESETS["google-workspace"]
    for preset in _ALL:
        if host in preset.hosts():
            return preset
    return None
