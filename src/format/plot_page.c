/* plot_page.c: the page around the charts; see plot.h. */
#include "format/plot.h"

/* Colours come in pairs for light and dark; the series are told apart by readers who do not see
 * red or green (Okabe and Ito's set, darkened on white and lightened on black). */
static const char page_style[] =
    ":root{--paper:#fff;--ink:#1c2430;--soft:#5b6675;--rule:#dde2e8;--panel:#f6f8fa;"
    "--accent:#1f5fa8;--on-accent:#fff;--good:#1a7f4b;--caution:#9a6200;--bad:#b3261e;"
    "--s0:#1f5fa8;--s1:#c25700;--s2:#11805c;--s3:#a3387f;--s4:#7a6a00;--s5:#3c93c8;--s6:#6b4fb0;"
    "--s7:#555}\n"
    "@media screen and (prefers-color-scheme:dark){:root{--paper:#14181e;--ink:#e4e8ee;"
    "--soft:#9aa6b5;--rule:#303845;--panel:#1c222b;--accent:#6fb1f2;--on-accent:#0d1117;"
    "--good:#5cc98c;--caution:#e0ad4b;--bad:#f28b82;--s0:#6fb1f2;--s1:#f0994d;--s2:#4cc9a0;"
    "--s3:#e48cc4;--s4:#d3c04f;--s5:#9ad4f5;--s6:#b39df0;--s7:#b8c0ca}}\n"
    "*{box-sizing:border-box}\n"
    "html{background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"
    "\"Segoe UI\",Roboto,\"Noto Sans\",\"Liberation Sans\",Arial,sans-serif}\n"
    "body{max-width:960px;margin:0 auto;padding:40px 32px 56px}\n"
    "header{border-bottom:2px solid var(--ink);padding-bottom:14px;margin-bottom:28px}\n"
    "h1{font-size:28px;line-height:1.25;margin:0;font-weight:650;letter-spacing:-.01em}\n"
    "header p{margin:6px 0 0;color:var(--soft)}\n"
    "h2{font-size:20px;line-height:1.3;margin:40px 0 12px;font-weight:650}\n"
    "p{margin:0 0 14px;max-width:72ch}\n"
    ".note{border-left:4px solid var(--accent);background:var(--panel);padding:10px 16px;"
    "margin:16px 0;max-width:none;font-size:15px}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:14px;"
    "margin:18px 0 24px}\n"
    ".tile{border:1px solid var(--rule);border-top:4px solid var(--accent);background:var(--panel);"
    "padding:12px 16px 14px}\n"
    ".tile b{display:block;font-size:28px;line-height:1.25;font-weight:650;"
    "font-variant-numeric:tabular-nums}\n"
    ".tile span{display:block;font-size:14px;color:var(--soft)}\n"
    ".tile i{font-style:normal;font-weight:600}\n"
    ".good{border-top-color:var(--good)}.good i{color:var(--good)}\n"
    ".caution{border-top-color:var(--caution)}.caution i{color:var(--caution)}\n"
    ".bad{border-top-color:var(--bad)}.bad i{color:var(--bad)}\n"
    ".scroll{overflow-x:auto;margin:16px 0 24px}\n"
    "table{border-collapse:collapse;width:100%;font-size:15px}\n"
    "caption,figcaption{text-align:left;font-weight:600;font-size:16px;padding:0;margin:0 0 8px}\n"
    "caption{margin-bottom:4px;padding-bottom:6px}\n"
    "th,td{padding:7px 12px;text-align:left;vertical-align:top;"
    "border-bottom:1px solid var(--rule)}\n"
    "th{font-size:14px;color:var(--soft);font-weight:600;border-bottom:2px solid var(--rule);"
    "vertical-align:bottom}\n"
    ".num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\n"
    "figure{margin:22px 0 30px;break-inside:avoid}\n"
    "figure.square{max-width:520px}\n"
    "svg{display:block;width:100%;height:auto;overflow:visible;font-variant-numeric:tabular-nums}\n"
    "svg text{fill:var(--ink);font-size:13px}svg .small{font-size:12px;fill:var(--soft)}\n"
    "svg .cell{font-size:12px}svg .over{fill:var(--on-accent)}\n"
    ".grid{stroke:var(--rule);stroke-width:1}.axis{stroke:var(--soft);stroke-width:1}\n"
    ".ideal{stroke:var(--soft);stroke-width:1.5;stroke-dasharray:5 4}\n"
    ".error{stroke:var(--ink);stroke-width:1.5}\n"
    ".bar{fill:var(--accent);fill-opacity:.8}.heat{fill:var(--accent)}.frame{fill:none;"
    "stroke:var(--rule)}\n"
    ".line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}\n"
    ".dot{stroke:var(--paper);stroke-width:1.5}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:4px 22px;margin:0 0 8px;padding:0;list-style:none;"
    "font-size:14px}\n"
    ".legend svg{display:inline-block;width:26px;height:10px;margin-right:7px;vertical-align:1px}\n"
    "footer{margin-top:48px;border-top:1px solid var(--rule);padding-top:12px;font-size:14px;"
    "color:var(--soft)}\n"
    "@media print{html{font-size:11pt}body{max-width:none;padding:0}h2{break-after:avoid}"
    ".tile,tr,.note{break-inside:avoid}*{print-color-adjust:exact;"
    "-webkit-print-color-adjust:exact}@page{margin:18mm 16mm}}\n";

static void add_element(Buf *out, const char *open, const char *text, const char *close)
{
    if (!text)
        return;
    buf_add_text(out, open);
    buf_add_html(out, text);
    buf_add_text(out, close);
}

void page_begin(Buf *out, const char *title, const char *subtitle)
{
    buf_add_text(out, "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n"
                      "<head>\n<meta charset=\"utf-8\"/>\n"
                      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                      "style-src 'unsafe-inline'\"/>\n"
                      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                      "<meta name=\"color-scheme\" content=\"light dark\"/>\n");
    add_element(out, "<title>", title, "</title>\n");
    buf_add_text(out, "<style>\n");
    buf_add(out, page_style, sizeof page_style - 1);
    buf_add_text(out, "</style>\n</head>\n<body>\n<header>\n");
    add_element(out, "<h1>", title, "</h1>\n");
    add_element(out, "<p>", subtitle, "</p>\n");
    buf_add_text(out, "</header>\n<main>\n");
}

void page_end(Buf *out, const char *footer)
{
    buf_add_text(out, "</main>\n");
    add_element(out, "<footer>", footer, "</footer>\n");
    buf_add_text(out, "</body>\n</html>\n");
}

void page_heading(Buf *out, const char *text)
{
    add_element(out, "<h2>", text, "</h2>\n");
}

void page_paragraph(Buf *out, const char *text)
{
    add_element(out, "<p>", text, "</p>\n");
}

void page_note(Buf *out, const char *text)
{
    add_element(out, "<p class=\"note\">", text, "</p>\n");
}

void page_tiles(Buf *out, const PageTile *tiles, size_t count)
{
    static const struct {
        const char *style, *word; /* the word is for those who do not see the colour */
    } tones[] = {[PAGE_PLAIN] = {"tile", NULL}, [PAGE_GOOD] = {"tile good", "Good"},
                 [PAGE_CAUTION] = {"tile caution", "Caution"}, [PAGE_BAD] = {"tile bad", "Bad"}};
    buf_add_text(out, "<div class=\"tiles\">\n");
    for (size_t i = 0; i < count; i++) {
        const PageTile *tile = &tiles[i];
        const char *word = tones[tile->tone].word;
        buf_format(out, "<div class=\"%s\">", tones[tile->tone].style);
        add_element(out, "<span>", tile->label, "</span>");
        add_element(out, "<b>", tile->value, "</b>");
        buf_add_text(out, "<span>");
        add_element(out, "<i>", word, tile->detail ? "</i>: " : "</i>");
        add_element(out, "", tile->detail, "");
        buf_add_text(out, "</span></div>\n");
    }
    buf_add_text(out, "</div>\n");
}

static void add_row(Buf *out, const PageTable *table, const char *const *cells, const char *tag)
{
    buf_add_text(out, "<tr>");
    for (size_t i = 0; i < table->columns; i++) {
        bool number = table->is_number && table->is_number[i];
        buf_format(out, "<%s%s>", tag, number ? " class=\"num\"" : "");
        buf_add_html(out, cells[i] ? cells[i] : "");
        buf_format(out, "</%s>", tag);
    }
    buf_add_text(out, "</tr>\n");
}

void page_table(Buf *out, const PageTable *table)
{
    buf_add_text(out, "<div class=\"scroll\"><table>\n");
    add_element(out, "<caption>", table->title, "</caption>\n");
    buf_add_text(out, "<thead>");
    add_row(out, table, table->heads, "th");
    buf_add_text(out, "</thead>\n<tbody>\n");
    for (size_t row = 0; row < table->rows; row++)
        add_row(out, table, table->cells + row * table->columns, "td");
    buf_add_text(out, "</tbody>\n</table></div>\n");
}
