"""`sekisho audit --output html`: the page in a browser: the numbers, chart, filters, sorting, and hostile names."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from sekisho.audit import Result
from sekisho.cli.reports import audit_html
from tests.browser import Page, browser, browser_page
from tests.pods import container
from tests.unit.audit.running import PLAIN, PRIVILEGED, RESTRICTED, audit, cluster_of, pod, policy, workload
from tests.unit.cli.sekisho_command import policy_file, sekisho

NOW: Final = datetime(2026, 11, 28, 9, 5, tzinfo=UTC)
STRICT: Final = policy("strict", podSecurityStandard={"level": "restricted"}, defaults={"profile": "restricted"})
HOSTILE: Final = "\"'></td><script>window.harmed = 1</script><img src=//example.com/x onerror=window.harmed=2>"
HOST_PATH: Final = {**PLAIN, "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}


def rows_of(*owners: tuple[str, dict[str, Any], int]) -> Result:
    """An audit of Deployments, each with a namespace and name, a spec, and pods."""
    objects = []
    for name, spec, pods in owners:
        namespace, _, short = name.partition("/")
        owner = workload("Deployment", short, spec, namespace, metadata={"uid": name})
        objects += [owner, *(pod(f"{short}-{number}", owner, spec, namespace) for number in range(pods))]
    return audit([STRICT], objects)


RESULT: Final = rows_of(
    ("shop/agent", PRIVILEGED, 3),
    ("shop/web", PLAIN, 2),
    ("team-a/disk", HOST_PATH, 5),
    ("team-a/idle", PRIVILEGED, 0),
    ("team-a/good", RESTRICTED, 4),
)


@pytest.fixture(scope="module")
def tools() -> Iterator[str]:
    """The DevTools of a browser."""
    with browser() as url:
        yield url


@pytest.fixture
async def tab(tools: str) -> AsyncIterator[Page]:
    """A tab in a desktop's window."""
    async with browser_page(tools) as page:
        await page.resize(1280, 900)
        yield page


@pytest.fixture
async def page(tab: Page, tmp_path: Path) -> Page:
    """A tab with the page of RESULT."""
    return await opened(tab, tmp_path, RESULT)


async def opened(tab: Page, folder: Path, result: Result) -> Page:
    file = folder / "audit.html"
    file.write_text(audit_html.render(result, [STRICT], NOW))
    await tab.open(file.as_uri())
    return tab


async def owners(page: Page) -> list[str]:
    """The owners in the table that are not hidden."""
    rows = "[...document.querySelectorAll('#owners tbody tr')].filter((row) => row.checkVisibility())"
    names: list[str] = await page.run(f"{rows}.map((row) => row.cells[0].lastChild.textContent)")
    return names


async def enter(page: Page, field: str, value: str) -> None:
    element = f"document.getElementById('{field}')"
    await page.run(f"{element}.value = '{value}'; {element}.dispatchEvent(new Event('input'))")


async def click(page: Page, selector: str) -> None:
    await page.run(f"document.querySelector('{selector}').click()")


async def texts(page: Page, selector: str) -> list[str]:
    elements: list[str] = await page.run(
        f"[...document.querySelectorAll('{selector}')].map((one) => one.innerText.trim())"
    )
    return elements


async def test_two_numbers_are_apart_and_each_owner_has_its_first_fix(page: Page) -> None:
    assert await texts(page, ".number.violating") == [
        "10\n\npods violate a policy now, as they run. Nothing happens to them until they are created again."
    ]
    assert await texts(page, ".number.denied") == [
        "8\n\nwould be denied when created again, of 2 owners. Defaults are applied first. "
        "The pods of 1 owner without any now would be denied too."
    ]
    assert await owners(page) == ["team-a/disk", "shop/agent", "team-a/idle", "shop/web"]
    assert await texts(page, "#owners td.denied") == ["5", "3", "no pods now", "0"]
    assert await texts(page, "#owners td.violating") == ["5", "3", "0", "2"]
    fixes = await texts(page, "#owners td:last-child")
    assert "Fix: " in fixes[0]
    assert "spec.template.spec.volumes[0].hostPath" in fixes[0]
    assert fixes[3] == "Nothing: they would be admitted when created again."


async def test_chart_counts_owners_by_control_and_filters_the_table(page: Page) -> None:
    bars = [text.split() for text in await texts(page, ".bar")]
    assert ["privileged", "2"] in bars
    assert ["restrictedVolumes", "1"] in bars
    await click(page, ".bar[data-control=restrictedVolumes]")
    assert await owners(page) == ["team-a/disk"]
    assert await texts(page, "#shown") == ["1 of 4 owners"]
    await click(page, ".bar[data-control=restrictedVolumes]")
    assert len(await owners(page)) == 4


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"search": " HostPath "}, ["team-a/disk"]),
        ({"namespace": "shop"}, ["shop/agent", "shop/web"]),
        ({"control": "privileged"}, ["shop/agent", "team-a/idle"]),
        ({"which": "denied"}, ["team-a/disk", "shop/agent", "team-a/idle"]),
        ({"which": "violating"}, ["shop/web"]),
        ({"namespace": "team-a", "control": "privileged"}, ["team-a/idle"]),
        ({"search": "nobody"}, []),
    ],
)
async def test_table_filters(fields: dict[str, str], expected: list[str], page: Page) -> None:
    for field, value in fields.items():
        await enter(page, field, value)
    assert await owners(page) == expected
    assert await page.run("document.getElementById('nothing').checkVisibility()") is not bool(expected)
    await click(page, "#reset")
    assert len(await owners(page)) == 4


async def test_table_sorts_numbers_down_and_names_up_first(page: Page) -> None:
    heading = "#owners th:nth-child({}) button"
    await click(page, heading.format(2))
    assert await owners(page) == ["team-a/disk", "shop/agent", "shop/web", "team-a/idle"]
    await click(page, heading.format(2))
    assert await owners(page) == ["team-a/idle", "shop/web", "shop/agent", "team-a/disk"]
    await click(page, heading.format(1))
    assert await owners(page) == ["shop/agent", "shop/web", "team-a/disk", "team-a/idle"]
    assert await page.run("[...document.querySelectorAll('th[aria-sort]')].map((one) => one.ariaSort)") == ["ascending"]


async def test_page_requests_nothing_and_its_own_policy_forbids_nothing_that_it_does(
    page: Page, tmp_path: Path
) -> None:
    assert page.requests == [(tmp_path / "audit.html").as_uri()]
    assert page.errors == []


async def test_hostile_names_and_values_are_text(tab: Page, tmp_path: Path) -> None:
    parent = {"kind": HOSTILE, "metadata": {"name": HOSTILE, "uid": "u"}}
    spec = {"containers": [container(HOSTILE, image=HOSTILE, securityContext={"privileged": True})]}
    page = await opened(tab, tmp_path, audit([STRICT], [pod("p", parent, spec)]))
    assert await owners(page) == [f"shop/{HOSTILE}"]
    assert await page.run("window.harmed ?? null") is None
    assert await page.run("document.images.length") == 0
    assert (len(page.requests), page.errors) == (1, [])


async def test_markup_that_slips_in_still_runs_nothing_and_loads_nothing(page: Page) -> None:
    await page.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=https://example.com/x onerror=window.harmed=1>');"
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.harmed = 2'}))"
    )
    assert await page.run("window.harmed ?? null") is None
    assert len(page.errors) >= 2


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
async def test_page_fits_a_phone_and_a_desktop_in_light_and_dark(page: Page, width: int, is_dark: bool) -> None:
    await page.resize(width, 800, is_dark=is_dark)
    assert await page.run("innerWidth") == width
    assert await page.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    ground = await page.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(21, 23, 27)" if is_dark else "rgb(251, 250, 248)")


async def test_page_prints_without_its_form(page: Page) -> None:
    await page.call("Emulation.setEmulatedMedia", media="print")
    assert not await page.run("document.getElementById('filter').checkVisibility()")
    assert len(await owners(page)) == 4
    assert (await page.pdf()).startswith(b"%PDF")


async def test_cluster_without_violations_has_no_table_to_filter(tab: Page, tmp_path: Path) -> None:
    page = await opened(tab, tmp_path, rows_of(("shop/good", RESTRICTED, 1)))
    assert not await page.run("document.getElementById('filter').checkVisibility()")
    assert await texts(page, ".chart p") == ["None would be denied."]
    assert page.errors == []


async def test_command_writes_the_page(tmp_path: Path) -> None:
    server = cluster_of([workload("Deployment", "agent", PRIVILEGED)])
    file = policy_file(tmp_path, "strict", controls={"privileged": {}})
    async with server.serve(tmp_path) as kubeconfig:
        done = await asyncio.to_thread(sekisho, "audit", "--kubeconfig", kubeconfig, "-p", file, "-o", "html")
    assert done.exit_code == 1
    assert done.stdout.startswith("<!doctype html>\n")
    assert "shop/agent" in done.stdout
