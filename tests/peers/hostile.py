"""Strings that have broken pages, exports and terminals: 150 and more."""

from __future__ import annotations

SCRIPTS = (
    *("<script>alert(1)</script>", "</script><script>alert(1)</script>", "<SCRIPT SRC=//x.test>"),
    *("<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>", "<svg><script>alert(1)</script>"),
    *(
        '"><script>alert(1)</script>',
        "'><script>alert(1)</script>",
        "`><img src=x onerror=alert(1)>",
    ),
    *('" onmouseover="alert(1)', "' onfocus='alert(1)' autofocus='", '"onclick=alert(1)//'),
    *("javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,<script>alert(1)</script>"),
    *(
        "<iframe src=javascript:alert(1)>",
        "<body onload=alert(1)>",
        "<input autofocus onfocus=alert(1)>",
    ),
    *(
        "<details open ontoggle=alert(1)>",
        "<video><source onerror=alert(1)>",
        "<math><mi//xlink:href>",
    ),
    *(
        "<style>*{display:none}</style>",
        "<link rel=stylesheet href=//x.test>",
        "<base href=//x.test/>",
    ),
    *(
        "<meta http-equiv=refresh content=0;url=//x.test>",
        "<form action=//x.test><input>",
        "<plaintext>",
    ),
    *(
        "<!--",
        "-->",
        "<![CDATA[x]]>",
        "<?xml version='1.0'?>",
        "</title>",
        "</textarea>",
        "</pre></div>",
    ),
    *(
        "</td></tr></table>",
        "<template>",
        "<noscript>",
        "<frameset>",
        "<object data=x>",
        "<embed src=x>",
    ),
    *(
        "{{7*7}}",
        "{% include 'x' %}",
        "{#",
        "${7*7}",
        "#{7*7}",
        "<%= 7*7 %>",
        "[[7*7]]",
        "{{config}}",
    ),
    *(
        "%0d%0aSet-Cookie:a=b",
        "%3Cscript%3E",
        "%00",
        "%s%s%s%n",
        "&lt;script&gt;",
        "&#60;b&#62;",
        "&amp;",
    ),
    *('hx-get="/x"', '" hx-get="/logout" hx-trigger="load', 'data-sure="', "x-on:click=alert(1)"),
)
FORMULAS = (
    *("=1+1", "+1+1", "-1+1", "@SUM(1)", "=cmd|'/c calc'!A1", '=HYPERLINK("//x.test","y")'),
    *(
        '=WEBSERVICE("//x.test")',
        "=IMPORTXML(A1)",
        ";=1+1",
        ",=1+1",
        '"=1+1',
        "'=1+1",
        "|=1+1",
        "＝1+1",
    ),
)
QUERIES = (
    *("' OR '1'='1", "'; DROP TABLE member; --", '" OR ""="', "1 UNION SELECT 1", "\\' OR 1=1 --"),
    *(
        "*",
        "%",
        "_",
        "\\",
        "/",
        "../../etc/passwd",
        "..\\..\\x",
        "/etc/passwd",
        "file:///etc/passwd",
    ),
    *(
        "$(id)",
        "`id`",
        "| id",
        "; id",
        "&& id",
        "> /tmp/x",
        "!id",
        "~root",
        "${HOME}",
        "nul",
        "CON",
    ),
)
TEXTS = (
    *("null", "undefined", "None", "NaN", "true", "false", "0", "-0", "1e309", "0x10", "[]", "{}"),
    *("[object Object]", "__proto__", "constructor", "toString", "__class__", "hasOwnProperty"),
    *(
        "W" * 60,
        "ï¿½" * 12,
        "Ω≈ç√∫˜µ≤≥÷",
        "田中さんにあげて下さい",
        "パーティーへ行かないか",
        "사회과학원",
        "الأمن",
    ),
    *("ثم نفس سقطت وبالتحديد،", "שלום", "😀😃😄👨‍👩‍👧‍👦"[:4], "🏳️"[:1], "Z͑ͫ̓a̴l̷g̶o", "ﷺ", "ß ẞ ı İ"),
    *("𝕋𝕖𝕩𝕥", "①②③", "½⅓", "a b", "it's", 'say "hi"', "a;b,c|d\\e", "a=b&c=d", "#hash", "?query=1"),
    *(
        "http://x.test/",
        "mailto:a@b.test",
        "a@b.test",
        "<a@b.test>",
        "(comment)",
        "C:\\Users",
        "100%",
    ),
)
CONTROLS = (
    *("a\x00b", "a\rb", "a\nb", "a\tb", "a\x1b[31mb", "a\x7fb", "a\x85b", "a\u2028b", "a\u2029b"),
    *("\u202eevil\u202c", "\u200b", "a\ufeffb", "\u2066a\u2069", "a\ud800b"),
)
ALL = (*SCRIPTS, *FORMULAS, *QUERIES, *TEXTS, *CONTROLS)


def names() -> list[str]:
    """Those that are a name to the relay: 1 to 64 printable characters, no dash or blank first."""
    return [
        text
        for text in (*SCRIPTS, *FORMULAS, *QUERIES, *TEXTS)
        if 1 <= len(text) <= 64
        and text.isprintable()
        and text == text.strip()
        and not text.startswith("-")
    ]
