"""`python -m tests.bench estimates`: the admission's guess of tokens beside the real count.

Bodies as clients send them, text as UTF-8 and with everything outside ASCII as `\\u` escapes (what
Python's `json.dumps` does unless told). The count is that of `llmgw.tokens.count`, OpenAI's rules
with the o200k_base vocabulary; cl100k_base is shown beside it and not held to anything.
"""

from __future__ import annotations

import base64
import json
import random
import struct
import timeit
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.table import Table

from llmgw.tokens.count import count_chat, count_text
from llmgw.tokens.estimate import estimate_request

LEAST, MOST = 0.85, 1.6
"""What a guess may be of the count."""
MEAN_ERROR = 0.15

Messages = Sequence[Mapping[str, object]]

ENGLISH = """\
The harbour town wakes before the sun does. Fishermen drag their nets across the wet stones, and the
baker on the corner has already sold his first loaves to the men who will not be back until evening.
By eight the tide has turned. Children run along the sea wall on their way to school, daring each
other to walk on the outer edge, while an old woman shouts at them from her window, as she shouted
at their parents thirty years ago. Nobody has ever fallen in, but she does not consider this a reason
to stop.

What changed the town was not the new road, although everyone says so. It was the quiet closing of
the cannery, one shift at a time, until a building that had employed four hundred people held only
gulls and a caretaker. The young left for the cities. Those who stayed learned to rent out rooms,
to paint boats in colours that photograph well, and to answer the same six questions with patience.
Ask the harbour master whether he minds and he will shrug. "The sea doesn't care who pays for the
rope," he says, and goes back to his crossword.
"""

PYTHON = '''\
import asyncio
from collections import deque
from dataclasses import dataclass, field


@dataclass
class Job:
    name: str
    retries: int = 3
    depends_on: list[str] = field(default_factory=list)

    def is_ready(self, finished: set[str]) -> bool:
        """Whether everything this job waits for is done."""
        return all(name in finished for name in self.depends_on)


class Scheduler:
    def __init__(self, jobs: list[Job], *, workers: int = 4) -> None:
        self._queue = deque(jobs)
        self._finished: set[str] = set()
        self._slots = asyncio.Semaphore(workers)

    async def run(self) -> dict[str, float]:
        timings: dict[str, float] = {}
        while self._queue:
            job = self._queue.popleft()
            if not job.is_ready(self._finished):
                self._queue.append(job)
                await asyncio.sleep(0.01)
                continue
            async with self._slots:
                started = asyncio.get_running_loop().time()
                try:
                    await self._execute(job)
                except ConnectionError as error:
                    if job.retries <= 0:
                        raise RuntimeError(f"{job.name} failed for good: {error!r}") from error
                    job.retries -= 1
                    self._queue.append(job)
                else:
                    self._finished.add(job.name)
                    timings[job.name] = asyncio.get_running_loop().time() - started
        return timings
'''

JAVASCRIPT = """\
import { useEffect, useState } from "react";

const PAGE_SIZE = 25;

export function OrderList({ customerId, onSelect }) {
  const [orders, setOrders] = useState([]);
  const [page, setPage] = useState(0);
  const [error, setError] = useState(null);

  useEffect(() => {
    const controller = new AbortController();
    fetch(`/api/customers/${customerId}/orders?page=${page}&size=${PAGE_SIZE}`, {
      signal: controller.signal,
      headers: { Accept: "application/json" },
    })
      .then((response) => {
        if (!response.ok) throw new Error(`HTTP ${response.status}`);
        return response.json();
      })
      .then((data) => setOrders((previous) => [...previous, ...data.items]))
      .catch((err) => err.name !== "AbortError" && setError(err.message));
    return () => controller.abort();
  }, [customerId, page]);

  if (error) return <p className="error">Could not load: {error}</p>;

  return (
    <ul className="orders">
      {orders.map(({ id, total, placedAt }) => (
        <li key={id} onClick={() => onSelect?.(id)}>
          <span>{new Date(placedAt).toLocaleDateString()}</span>
          <strong>{(total / 100).toFixed(2)} &euro;</strong>
        </li>
      ))}
      <button disabled={orders.length % PAGE_SIZE !== 0} onClick={() => setPage((p) => p + 1)}>More</button>
    </ul>
  );
}
"""

SQL = """\
WITH monthly AS (
    SELECT c.region_id,
           date_trunc('month', o.placed_at) AS month,
           SUM(o.total_cents) / 100.0 AS revenue,
           COUNT(DISTINCT o.customer_id) AS buyers
    FROM orders AS o
    JOIN customers AS c ON c.id = o.customer_id
    LEFT JOIN refunds AS r ON r.order_id = o.id
    WHERE o.placed_at >= DATE '2023-01-01'
      AND o.status IN ('paid', 'shipped', 'delivered')
      AND r.id IS NULL
    GROUP BY 1, 2
),
ranked AS (
    SELECT m.*, LAG(revenue) OVER (PARTITION BY region_id ORDER BY month) AS previous,
           ROW_NUMBER() OVER (PARTITION BY region_id ORDER BY revenue DESC) AS place
    FROM monthly AS m
)
SELECT g.name, r.month, r.revenue, ROUND(100 * (r.revenue - r.previous) / NULLIF(r.previous, 0), 1) AS growth
FROM ranked AS r
JOIN regions AS g ON g.id = r.region_id
WHERE r.place <= 3
ORDER BY g.name, r.month;

CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_placed_at_idx ON orders (placed_at, status)
    INCLUDE (total_cents);
"""

MARKDOWN = """\
# Release checklist

Work through this list **in order**; do not skip a step because it "never fails". See
[the handbook](https://handbook.example.org/release#rollback) for what to do when one does.

## Before

- [x] All tests green on `main`
- [ ] Changelog reviewed by somebody who did *not* write it
- [ ] Database migration rehearsed on a copy (see `scripts/rehearse.sh`)

## Matrix

| Service     | Version | Owner        | Rollback       | Notes                        |
|-------------|--------:|--------------|----------------|------------------------------|
| gateway     |   2.4.1 | @platform    | < 5 min        | needs `FEATURE_LIMITS=on`    |
| billing     |  1.19.0 | @payments    | 20 min         | freeze from the 28th         |
| search      |   0.9.7 | @discovery   | reindex, ~2 h  | do it **last**               |
| dashboard   |  3.0.0  | @frontend    | < 1 min        | static files only            |

## After

1. Watch the error rate for thirty minutes.
2. Post the summary:

   ```text
   released 2.4.1 to production, 0 failed checks
   ```

> If in doubt, roll back first and ask afterwards.
"""

GERMAN = """\
Sehr geehrte Damen und Herren, hiermit möchte ich den Vertrag über die Nutzung der Ferienwohnung zum
nächstmöglichen Zeitpunkt kündigen. Während der vergangenen Monate ist es wiederholt zu Störungen der
Warmwasserversorgung gekommen, ohne dass die Hausverwaltung auf unsere schriftlichen Beschwerden
reagiert hätte. Außerdem wurde die vereinbarte Nebenkostenabrechnung bis heute nicht vorgelegt. Ich
bitte Sie daher, mir den Eingang dieses Schreibens zu bestätigen und einen Termin für die Übergabe der
Schlüssel vorzuschlagen. Die geleistete Kaution überweisen Sie bitte auf das Ihnen bekannte Konto.

Der Wind hatte sich gedreht, und über den Dächern der Altstadt hing der Geruch von Regen. Großmutter
saß am Küchentisch und zählte die Münzen, die sie für den Jahrmarkt zurückgelegt hatte. »Für jeden von
euch genau fünf Mark«, sagte sie, »und wer alles für Süßigkeiten ausgibt, braucht mir hinterher nicht
über Bauchschmerzen zu klagen.« Wir nickten, obwohl wir alle wussten, dass sie spätestens am Abend
noch einmal in die Schürzentasche greifen würde.
"""

FRENCH = """\
Madame, Monsieur, je me permets de vous écrire au sujet de la commande passée le trois février dernier,
qui ne m'est toujours pas parvenue malgré vos nombreuses promesses. Le service après-vente m'avait
assuré qu'elle serait expédiée dès réception du règlement ; or celui-ci a été encaissé il y a plus de
trois semaines. J'aimerais donc savoir où en est la livraison, et si vous êtes en mesure de me garantir
une date précise. À défaut, je vous prierais de bien vouloir annuler l'achat et de me rembourser.

Il pleuvait sur la gare déserte, et le dernier train était déjà parti. Hélène s'assit sur sa valise,
releva le col de son manteau et regarda l'horloge dont les aiguilles s'étaient arrêtées à midi moins
dix, peut-être depuis des années. Quelque part, derrière les entrepôts, un chien aboyait sans
conviction. Elle songea qu'à cette heure-là son frère devait préparer le dîner, en sifflant faux
comme toujours, et que personne ne s'inquiéterait d'elle avant le lendemain.
"""

RUSSIAN = """\
Весной, когда снег окончательно сошёл с полей, старый мост через реку решили наконец отремонтировать.
Рабочие приехали рано утром, выгрузили доски и долго спорили о том, с какого берега удобнее начинать.
Местные жители наблюдали за ними с интересом: такого оживления в деревне не было уже много лет. К
вечеру половина настила была разобрана, и стало ясно, что опоры тоже придётся менять. «Ничего, —
сказал бригадир, — к осени закончим». Никто ему, разумеется, не поверил.

Уважаемые коллеги! Напоминаем, что отчёты за первый квартал необходимо сдать не позднее пятницы.
Просим внимательно проверить все таблицы, особенно расходы на командировки и оборудование. Если у вас
возникнут вопросы, обращайтесь в бухгалтерию по внутреннему телефону или напишите на общую почту.
Документы, поступившие после указанного срока, будут рассмотрены только в следующем месяце.
"""

ARABIC = """\
في صباح يوم من أيام الخريف، خرج الرجل العجوز من بيته القديم متجهاً نحو السوق كما يفعل منذ أربعين عاماً.
كانت الشوارع هادئة، ولم يكن يُسمع سوى صوت الباعة وهم يرتبون بضائعهم. توقف عند بائع الكتب وسأله عن رواية
كان قد قرأها في شبابه، فابتسم البائع وقال إنه باع آخر نسخة منها قبل أسبوع. شكره الرجل ومضى في طريقه وهو
يفكر في كل القصص التي ضاعت من ذاكرته.

تهدف هذه الدراسة إلى تحليل أثر التعليم الإلكتروني في تحصيل الطلاب خلال السنوات الخمس الماضية. وقد شملت
العينة أكثر من ألف طالب وطالبة من جامعات مختلفة، وأظهرت النتائج تحسناً ملحوظاً في مهارات البحث والكتابة،
بينما بقيت مشكلة ضعف التواصل بين المعلم والمتعلم قائمة. ويوصي الباحثون
بالجمع بين التعليم المباشر والتعليم عن بعد.
"""

HINDI = """\
गाँव के बाहर एक पुराना बरगद का पेड़ था, जिसके नीचे हर शाम लोग इकट्ठा होते थे। कोई अपने खेत की बात करता, कोई शहर
से आई ख़बरें सुनाता, और बच्चे पास ही धूल में खेलते रहते। एक दिन एक अजनबी यात्री वहाँ आकर बैठ गया। उसने बताया कि वह
पहाड़ों के उस पार से पैदल चलकर आया है और उसे समुद्र तक जाना है। सबने उसे पानी पिलाया और रात रुकने के लिए कहा।

इस योजना का मुख्य उद्देश्य छोटे किसानों को समय पर ऋण और बेहतर बीज उपलब्ध कराना है। आवेदन करने के लिए आधार कार्ड,
बैंक खाते का विवरण और भूमि के दस्तावेज़ आवश्यक हैं। आवेदन की जाँच तीस दिनों के भीतर पूरी की जाएगी, जिसके बाद राशि सीधे
खाते में भेज दी जाएगी। अधिक जानकारी के लिए अपने नज़दीकी कार्यालय से संपर्क करें।
"""

CHINESE = """\
清晨的雾还没有散去，河边的小路上已经有人在散步了。老王提着鸟笼，慢慢走到桥头，和往常一样跟卖豆浆的大姐打招呼。
大姐笑着问他今天怎么来得这么早，他说昨晚没睡好，总惦记着儿子考试的事情。桥下的水流得很急，前几天刚下过大雨，
岸边的柳树被冲倒了一棵，横在水里，几个孩子正商量着怎么把它拖上来。

本报告分析了过去三年公司在华东地区的销售情况。数据显示，线上渠道的增长速度明显高于线下门店，但退货率也随之上升。
我们建议从以下三个方面进行改进：第一，优化仓储布局，缩短配送时间；第二，加强商品描述的准确性，减少客户误解；
第三，建立统一的售后服务平台，及时处理投诉。请各部门在本月底之前提交具体的实施方案和预算。
"""

JAPANESE = """\
朝の電車はいつも混んでいるが、その日は不思議なほど空いていた。窓際の席に座ると、向かいに小さな男の子が一人で本を
読んでいるのに気がついた。次の駅で降りるまでの間、彼は一度も顔を上げなかった。私はなんとなく、自分が子どものころに
夢中で読んだ冒険小説のことを思い出していた。あの本は今どこにあるのだろう。

お世話になっております。先日ご依頼いただいたシステムの改修について、見積書をお送りいたします。開発期間はおよそ六週間を
予定しており、テスト環境での確認が終わり次第、本番サーバーへの反映を行います。なお、データベースの移行作業は夜間に
実施するため、一時的にサービスを停止する必要がございます。ご不明な点がございましたら、お気軽にお問い合わせください。
"""

KOREAN = """\
비가 그친 뒤의 골목은 유난히 조용했다. 할머니는 대문 앞에 작은 의자를 내놓고 앉아 지나가는
사람들을 구경하셨다. 옆집 고양이가 담장 위를 천천히 걸어가다가 할머니를 보고 잠시 멈추었다.
나는 학교에서 돌아오는 길에 사 온 붕어빵을 할머니께 드렸고, 할머니는 웃으시며 반을 잘라 다시
내 손에 쥐여 주셨다. 그 따뜻함을 아직도 기억한다.

이번 회의에서는 하반기 제품 출시 일정과 마케팅 예산을 논의할 예정입니다. 각 팀은 지난 분기의
성과를 간단히 정리하여 수요일까지 공유 문서에 올려 주시기 바랍니다. 특히 고객 지원 팀은 자주
접수되는 문의 유형과 처리 시간을 표로 작성해 주십시오. 참석이 어려운 분은 미리 담당자에게 알려
주시고, 필요한 경우 온라인으로 참여하실 수 있습니다.
"""

EMOJI = """\
Happy birthday!!! 🎉🎂🥳 can't believe you're 30 already 😱😂 see you tonight 🍕🍻🔥 bring the dog 🐶❤️
omg yes 😭😭😭 it was soooo good 👌✨ the sunset 🌅🌊 and then the fireworks 🎆🎆 best trip ever 🚗💨🏔️🏕️
👍👍 ok 🙏 thx 😊 talk later 👋 | team status: ✅ api ✅ docs ❌ billing ⚠️ search 🚧 mobile | 🇩🇪 2 : 1 🇫🇷 ⚽🏆
weekend plan 👉 🛒 groceries, 🧹 cleaning, 🎬 movie night 🍿 with 👨‍👩‍👧‍👦, then 😴💤 until noon ☕️🥐
"""


def conversation() -> Messages:
    """Short turns: what is not text weighs most here."""
    turns = [
        ("system", "You are a friendly assistant for a small bicycle shop. Answer briefly."),
        ("user", "Do you repair e-bikes?"),
        ("assistant", "Yes, we repair most brands. What seems to be the problem?"),
        ("user", "The motor cuts out after a few minutes."),
        ("assistant", "That is often a loose battery contact. Could you bring it in this week?"),
        ("user", "Thursday at 10?"),
        ("assistant", "Thursday at 10 works. Please bring the charger and the key as well."),
        ("user", "Great, thanks! How much will it cost?"),
    ]
    return [{"role": role, "content": text} for role, text in turns]


def tools() -> Sequence[Mapping[str, object]]:
    """Three functions as an agent declares them."""

    def function(name: str, description: str, required: list[str], **properties: object) -> dict[str, object]:
        schema = {"type": "object", "properties": properties, "required": required}
        return {
            "type": "function",
            "function": {"name": name, "description": description, "parameters": schema},
        }

    return [
        function(
            "get_weather",
            "Current weather and a forecast of up to five days for a place",
            ["city"],
            city={"type": "string", "description": "City and country, for example Lisbon, Portugal"},
            days={"type": "integer", "description": "How many days to look ahead, from 0 to 5"},
            unit={"type": "string", "enum": ["celsius", "fahrenheit"], "description": "Unit of temperature"},
        ),
        function(
            "search_flights",
            "Find flights between two airports, cheapest first, with the number of stops and the total time",
            ["origin", "destination", "departure"],
            origin={"type": "string", "description": "IATA code of the airport to leave from"},
            destination={"type": "string", "description": "IATA code of the airport to arrive at"},
            departure={"type": "string", "description": "Date of departure as YYYY-MM-DD"},
            cabin={"type": "string", "enum": ["economy", "premium", "business", "first"]},
        ),
        function(
            "create_reminder",
            "Remind the user of something at a given moment",
            ["text", "at"],
            text={"type": "string", "description": "What to remind the user of, in their own words"},
            at={"type": "string", "description": "When to do so, in ISO 8601 with the offset from UTC"},
        ),
    ]


def rows(n: int) -> list[dict[str, object]]:
    """Records as a program would put them into a prompt."""
    draw = random.Random(7)
    names = ["Alice Moreau", "Jonas Weber", "Priya Nair", "Tom Okafor", "Mei Lin", "Sofia Rossi"]
    return [
        {
            "id": draw.randrange(10_000, 99_999),
            "customer": draw.choice(names),
            "paid": draw.random() < 0.7,
            "total": round(draw.uniform(5, 900), 2),
            "tags": draw.sample(["gift", "express", "fragile", "repeat", "wholesale"], 2),
            "at": f"2024-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02}T09:30:00Z",
        }
        for _ in range(n)
    ]


def csv() -> str:
    lines = [
        f"{row['id']},{row['at']},{row['total']},{int(bool(row['paid']))},{row['tags']}" for row in rows(40)
    ]
    return "\n".join(["id,at,total,paid,tags", *lines])


def numbers() -> str:
    draw = random.Random(11)
    return "\n".join(" ".join(f"{draw.gauss(0, 40):.3f}" for _ in range(8)) for _ in range(24))


def png(width: int, height: int, n_bytes: int) -> bytes:
    """The head of a PNG file and noise after it."""
    head = (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02\x00\x00\x00"
    )
    return head + random.Random(13).randbytes(n_bytes - len(head))


def question_with_image(n_bytes: int) -> Messages:
    url = "data:image/png;base64," + base64.b64encode(png(1024, 1024, n_bytes)).decode()
    parts = [{"type": "text", "text": ENGLISH[:300]}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    body: bytes
    count: int
    count_cl100k: int


@dataclass(frozen=True, slots=True)
class Result:
    sample: Sample
    estimate: int

    @property
    def ratio(self) -> float:
        return self.estimate / self.sample.count


TEXTS: Mapping[str, str] = {
    "English": ENGLISH,
    "English, one paragraph": ENGLISH[:300],
    "English, 100 KB": ENGLISH * 90,
    "Python": PYTHON,
    "JavaScript": JAVASCRIPT,
    "SQL": SQL,
    "JSON, indented": json.dumps(rows(10), indent=2),
    "JSON, minified": json.dumps(rows(15), separators=(",", ":")),
    "Markdown, tables": MARKDOWN,
    "CSV": csv(),
    "numbers": numbers(),
    "German": GERMAN,
    "French": FRENCH,
    "Russian": RUSSIAN,
    "Russian, 100 KB": RUSSIAN * 65,
    "Arabic": ARABIC,
    "Hindi": HINDI,
    "Chinese": CHINESE,
    "Chinese, 100 KB": CHINESE * 150,
    "Japanese": JAPANESE,
    "Korean": KOREAN,
    "emoji": EMOJI,
    "English and Chinese": "\n".join([ENGLISH, CHINESE, ENGLISH]) * 8,
}


def samples() -> Iterator[Sample]:
    """Every sample, those with something outside ASCII a second time, escaped."""
    for name, text in TEXTS.items():
        yield from _chat(name, [{"role": "user", "content": text}])
    yield from _chat("conversation", conversation())
    yield from _chat("tools", [{"role": "user", "content": ENGLISH[:200]}], tools())
    yield from _chat("image, 200 KB", question_with_image(150_000))
    yield from _chat("image, 1 MB", question_with_image(750_000))
    yield from _other_formats()


def _chat(
    name: str, messages: Messages, functions: Sequence[Mapping[str, object]] | None = None
) -> Iterator[Sample]:
    request = {"model": "gpt-4o", "messages": messages, "temperature": 0.2}
    if functions:
        request["tools"] = functions
    count = count_chat(messages, functions, "gpt-4o"), count_chat(messages, functions, "gpt-4")
    raw = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
    yield Sample(name, raw, *count)
    if not raw.isascii():
        yield Sample(f"{name}, \\u", json.dumps(request).encode(), *count)


def _other_formats() -> Iterator[Sample]:
    """The same text as other APIs have it; beside it, a handful of tokens that no one publishes."""
    bodies: dict[str, object] = {
        "Responses": {"model": "gpt-4o", "instructions": "Be brief.", "input": ENGLISH},
        "Embeddings": {"model": "text-embedding-3-small", "input": ENGLISH.splitlines()},
        "Messages": {
            "model": "claude-sonnet-4-5",
            "max_tokens": 1024,
            "system": "Be brief.",
            "messages": [{"role": "user", "content": [{"type": "text", "text": ENGLISH}]}],
        },
        "generateContent": {"contents": [{"role": "user", "parts": [{"text": ENGLISH}]}]},
        "Ollama": {"model": "llama3.2", "prompt": ENGLISH, "stream": False},
    }
    for name, body in bodies.items():
        counts = count_text(ENGLISH, "gpt-4o"), count_text(ENGLISH, "gpt-4")
        yield Sample(name, json.dumps(body, separators=(",", ":")).encode(), *counts)


def measure() -> list[Result]:
    return [Result(sample, estimate_request(sample.body)) for sample in samples()]


def mean_error(results: Sequence[Result]) -> float:
    return fmean(abs(result.ratio - 1) for result in results)


def microseconds(body: bytes) -> float:
    """The shortest of some rounds, a call."""
    timer = timeit.Timer(lambda: estimate_request(body))
    calls = max(timer.autorange()[0] // 10, 1)
    return min(timer.repeat(7, calls)) / calls * 1e6


def render(results: Sequence[Result]) -> Table:
    """A row a sample, and what they come to."""
    table = Table(
        title=f"estimate_request: {LEAST} to {MOST} of o200k_base, {MEAN_ERROR:.0%} off on average, is asked"
    )
    table.add_column("sample")
    for title in ("bytes", "cl100k", "o200k", "estimate", "ratio", "\N{MICRO SIGN}s"):
        table.add_column(title, justify="right")
    for result in results:
        sample = result.sample
        style = "" if LEAST <= result.ratio <= MOST else "red"
        table.add_row(
            sample.name,
            f"{len(sample.body):,}",
            f"{sample.count_cl100k:,}",
            f"{sample.count:,}",
            f"{result.estimate:,}",
            f"{result.ratio:.2f}",
            f"{microseconds(sample.body):.2f}",
            style=style,
        )
    ratios = [result.ratio for result in results]
    table.add_section()
    table.add_row(
        f"mean error {mean_error(results):.1%}", "", "", "", "worst", f"{min(ratios):.2f} {max(ratios):.2f}"
    )
    return table


def passed(results: Sequence[Result]) -> bool:
    within = all(LEAST <= result.ratio <= MOST for result in results)
    return within and mean_error(results) <= MEAN_ERROR
