/* report.c: both forms of a report into a folder; see report.h. */
#include "eval/report.h"

#include "base/fs.h"

#include <string.h>

static bool write_both(const EvalReport *report, const EvalFigures *figures, const char *folder,
                       Error *err)
{
    char json_path[1024], html_path[1024];
    auto_json json_t *json = NULL;
    auto_buf Buf html;
    buf_init(&html, REPORT_BYTES_MAX);
    return fs_join(json_path, sizeof json_path, folder, "report.json", err) &&
           fs_join(html_path, sizeof html_path, folder, "report.html", err) &&
           report_json(&json, report, figures, err) &&
           report_html(&html, report, figures, err) && fs_make_dirs(folder, err) &&
           fs_write(html_path, html.data, html.size, err) && json_write(json, json_path, err);
}

bool report_write(const EvalReport *report, const char *folder, Error *err)
{
    EvalFigures *figures;
    if (!report_figures(&figures, report, err))
        return false;
    bool ok = write_both(report, figures, folder, err);
    report_figures_free(figures);
    return ok;
}
