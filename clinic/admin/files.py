"""What the desk gives away as a file to open in a spreadsheet."""

import csv

from django.http import HttpResponse

STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_file(name, columns, rows):
    """Comma-separated values to save as `name`. A cell that a spreadsheet would take for a formula begins with an
    apostrophe, as OWASP advises: then it is only text."""
    answer = HttpResponse(
        content_type="text/csv; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
    lines = csv.writer(answer)
    lines.writerow(columns)
    lines.writerows([_plain(cell) for cell in row] for row in rows)
    return answer


def _plain(cell):
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(STARTS_A_FORMULA) else cell
