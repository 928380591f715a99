"""Lists for programs: what every one of them takes, the envelope that it comes in, and its order."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Annotated, Any

from django.db.models import F, QuerySet
from django.http import HttpRequest
from ninja import Field, Path, Schema
from pydantic import BaseModel

from scanner.webhooks.editing import Problem, Refused

LIMIT, MOST = 100, 1000  # rows a page: unless it is said, and at most
LAST_ID = 2**63 - 1  # that a database takes

Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
"""What no database stumbles over."""
Name = Annotated[str, Path(max_length=200, pattern=r"^[^\x00]+$")]
Id = Annotated[int, Path(ge=1, le=LAST_ID)]


class Wanted(Schema):
    """What every list takes."""

    page: int = Field(1, ge=1, le=1_000_000, description="The first is 1.")
    limit: int = Field(LIMIT, ge=1, le=MOST, description="Rows a page.")


class Shape(BaseModel):
    """What is answered: made of dicts. Ninja's own Schema takes any object, and asks it for each field in Python."""


class Page(Shape):
    """The rows are `items`, which each list adds."""

    next: int | None = Field(description="The next page: ?page=NEXT. Null on the last one.", examples=[2, None])
    total: int | None = Field(description="Rows on all pages; null where they are not known.", examples=[137])


def page_of(rows: QuerySet[Any] | Sequence[Any], wanted: Wanted, shown: Callable[[Sequence[Any]], Any]) -> Any:
    """`shown` is given the rows of the page at once, so that it can look things up for all of them."""
    total = rows.count() if isinstance(rows, QuerySet) else len(rows)
    start = (wanted.page - 1) * wanted.limit
    found = list(rows[start : start + wanted.limit]) if start < total else []
    more = total > start + wanted.limit
    return {"items": shown(found), "next": wanted.page + 1 if more else None, "total": total}


def ordered(rows: QuerySet[Any], sort: str, columns: Mapping[str, str]) -> QuerySet[Any]:
    """By a documented name, with a minus in front downwards; what is not known comes last, and nothing is a tie."""
    column = F(columns[sort.removeprefix("-")])
    order = column.desc(nulls_last=True) if sort.startswith("-") else column.asc(nulls_last=True)
    return rows.order_by(order, "name", "pk")


def nothing_unknown(view: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse query parameters that the door does not know: a filter with a slip in its name would find too much.

    The door's own are the fields of its argument `wanted`.
    """
    wanted = view.__annotations__.get("wanted")
    fields = wanted.__origin__.model_fields if wanted else {}
    known = [field.alias or name for name, field in fields.items()]

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if unknown := sorted(set(request.GET) - set(known)):
            words = f"There is {', '.join(known)}." if known else "Here is none."
            raise Refused([Problem(name, f"There is no query parameter {name!r}. {words}") for name in unknown])
        return view(request, *args, **kwargs)

    return checked
