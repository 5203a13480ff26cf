// The page: sends photos and clips to the API, shows what comes back. State is in this module only: a reload forgets it.

const WORDS = {
  en: {
    title: "Image captions", language: "Language", spoken: "Captions in", as_page: "the page's language", choose: "Photo or clip", drop: "Drop a file here, paste one, or choose it.",
    file: "Choose a file", camera: "Take a photo", photo: "Photo", captions: "Captions",
    hover: "Point at a word, tap it or focus it to see where the network finds it.",
    sampled: "Sampled captions", count: "How many", temperature: "Temperature", top_k: "Among how many words (0: all)",
    top_p: "Of how much likelihood together", ladder: "Varied first, safe at the end", model: "Model",
    attention: "with attention", baseline: "without attention", again: "Sample again", compare: "Both models", sheet: "Heatmap sheet",
    colours: "Colour vision", protanopia: "protanopia", deuteranopia: "deuteranopia", tritanopia: "tritanopia", show: "Show",
    tags: "Tags, between commas (none: a dictionary of everyday words)", judge: "Which fit", fitting: "Tags that fit", none_fits: "None fits.",
    unknown: "{text} cannot be judged; unknown: {words}",
    look_for: "What to look for in these photos", find: "Find", found: "Photos found: {count}.", nothing_fits: "Nothing fits well.",
    unread: "Photos that could not be looked at: {count}.", left_out: "Words that are not known, and were left out: {words}.", query: "Write in words what shall be in the photo, 30 at most.",
    clip: "Clip", cancel: "Cancel", past: "This visit", login: "Access", token: "Token (WEB_TOKEN)", enter: "Enter",
    best: "beam search", greedy: "greedy", sample: "sampled", weigh: "Words weighed", said: "Word", others: "Other words", end: "(end)",
    working: "Working …", done: "Caption: {text}. {count} sampled captions.", confidence: "confidence {percent} %",
    looks: "“{word}”: {percent} % of its attention in one of {regions} regions, probability {p} %",
    looks_from: "“{word}” ({from}): {percent} % of its attention in one of {regions} regions",
    original: "English original", not_translated: "in English: the translation is not certain",
    no_map: "This model looks at the whole photo.", waiting: "In line, {place} before it", percent: "{percent} %",
    moments: "{count} moments found.", still: "One shot, little changes.", cancelled: "Cancelled.", at: "at {time}",
    novelty: "How unlike the rest each frame is, with the moments", not_shown: "This browser cannot show the file.",
    offline: "The server cannot be reached.", shown: "Shown below.", wrong: "This token is not right.", needed: "This server wants a token.",
    perhaps: "perhaps: {text}", whole: "in full, beam search",
    not_photo: "This does not look like a photo; I only describe photos.", not_blank: "This picture looks blank; I only describe photos.",
    not_drawing: "This looks like a drawing, a diagram or a logo; I only describe photos.", not_noise: "This looks like noise; I only describe photos.",
    not_screen: "This looks like text or a screenshot; I only describe photos.", not_text: "This looks like text or a screenshot; I only describe photos.",
  },
  ru: {
    title: "Описание изображений", language: "Язык", spoken: "Язык описаний", as_page: "как у страницы", choose: "Фото или видео", drop: "Перетащите файл сюда, вставьте его или выберите.",
    file: "Выбрать файл", camera: "Сделать снимок", photo: "Фото", captions: "Описания",
    hover: "Наведите на слово, нажмите его или перейдите к нему клавишей Tab, чтобы увидеть, где сеть его находит.",
    sampled: "Случайные описания", count: "Сколько", temperature: "Температура", top_k: "Из скольких слов (0: из всех)",
    top_p: "Их общая вероятность", ladder: "Сначала разнообразно, в конце надёжно", model: "Модель",
    attention: "с вниманием", baseline: "без внимания", again: "Выбрать заново", compare: "Обе модели", sheet: "Карта внимания",
    colours: "Цветовое зрение", protanopia: "протанопия", deuteranopia: "дейтеранопия", tritanopia: "тританопия", show: "Показать",
    tags: "Теги через запятую (без них — словарь обычных слов)", judge: "Какие подходят", fitting: "Подходящие теги", none_fits: "Ни один не подходит.",
    unknown: "{text}: нельзя оценить; неизвестно: {words}",
    look_for: "Что искать среди этих фото", find: "Найти", found: "Найдено фото: {count}.", nothing_fits: "Ничего подходящего нет.",
    unread: "Не удалось посмотреть фото: {count}.", left_out: "Неизвестные слова, которые не учтены: {words}.", query: "Напишите словами, что должно быть на фото: не больше 30 слов.",
    clip: "Видео", cancel: "Отменить", past: "В этот раз", login: "Доступ", token: "Токен (WEB_TOKEN)", enter: "Войти",
    best: "лучевой поиск", greedy: "жадное", sample: "случайное", weigh: "Выбор слов", said: "Слово", others: "Другие слова", end: "(конец)",
    working: "Работаю …", done: "Описание: {text}. Случайных описаний: {count}.", confidence: "уверенность {percent} %",
    looks: "«{word}»: {percent} % внимания на одну область из {regions}, вероятность {p} %",
    looks_from: "«{word}» ({from}): {percent} % внимания на одну область из {regions}",
    original: "Английский оригинал", not_translated: "по-английски: перевод ненадёжен",
    no_map: "Эта модель смотрит на всё фото сразу.", waiting: "В очереди, впереди: {place}", percent: "{percent} %",
    moments: "Найдено моментов: {count}.", still: "Один план, почти ничего не меняется.", cancelled: "Отменено.", at: "в {time}",
    novelty: "Насколько каждый кадр не похож на остальные, и моменты", not_shown: "Этот браузер не может показать файл.",
    offline: "Сервер недоступен.", shown: "Показано ниже.", wrong: "Токен неверен.", needed: "Этому серверу нужен токен.",
    perhaps: "возможно: {text}", whole: "целиком, лучевой поиск",
    not_photo: "Это не похоже на фото, а я описываю только фото.", not_blank: "Похоже, здесь ничего нет, а я описываю только фото.",
    not_drawing: "Похоже на рисунок, схему или логотип, а я описываю только фото.", not_noise: "Похоже на шум, а я описываю только фото.",
    not_screen: "Похоже на текст или снимок экрана, а я описываю только фото.", not_text: "Похоже на текст или снимок экрана, а я описываю только фото.",
    errors: {
      unauthorized: "Этому серверу нужен токен.", rate: "Слишком много запросов. Подождите немного.", busy: "Слишком много запросов в работе.",
      too_many_bytes: "Файл или запрос слишком большой.", too_large: "У фото слишком много пикселей.", empty: "Файл пуст.",
      not_image: "Это не изображение.", unread_image: "Изображения этого вида здесь не читаются. Нужен JPEG, PNG, WebP или HEIC.", svg: "Это векторный рисунок. Нужен PNG или JPEG.", pdf: "Это PDF. Нужно изображение.",
      web_page: "Это веб-страница. Нужно само изображение.", zeros: "В файле одни нули: он скопирован с ошибкой.", truncated: "Изображение обрывается.",
      damaged: "Изображение повреждено.", not_a_clip: "Это не видео.", unread_clip: "Видео этого вида здесь не читаются. Нужен MP4, MOV, MKV или WebM.", damaged_clip: "В видео не читается ни один кадр.",
      clip_too_long: "Видео слишком длинное.", clip_too_large: "Видео слишком большое.", clip_too_slow: "Видео слишком долго читается.",
      crashed: "Файл не удалось обработать.", cancelled: "Отменено.", unexplainable: "Эта модель не могла сказать такое описание.",
      unknown_words: "Ни одно из этих слов не известно. Попробуйте другие.",
      out_of_memory: "Сейчас не хватило памяти. Попробуйте ещё раз.",
      unavailable: "Очередь недоступна. Попробуйте ещё раз.", timeout: "Не удалось успеть. Попробуйте позже.",
      animated: "Это изображение движется.", slow_body: "Файл передаётся слишком медленно.", option: "Настройка не понята.",
      features_gone: "Сейчас это не удалось. Попробуйте ещё раз.", not_found: "Этого здесь больше нет.",
      clips_unavailable: "Здесь нельзя читать видео.", failed: "Что-то пошло не так.",
    },
  },
};

const $ = (id) => document.getElementById(id);
let language = (navigator.language || "en").startsWith("ru") ? "ru" : "en";
let spoken = ""; // the language of captions; "": the page's
let token = sessionStorage.getItem("token") || "";
let shown = null; // {file, url, picture, captions, model, seed, again}
let clip = null; // {id}, while it is in work
let watched = null; // the file of the last clip
let asking = new AbortController();
let pinned = null; // the word whose map stays

function say(name, values = {}) {
  return (WORDS[language][name] ?? name).replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

function translate() {
  document.documentElement.lang = language;
  $("language").value = language;
  for (const element of document.querySelectorAll("[data-words]")) element.textContent = say(element.dataset.words);
  document.title = say("title");
}

function captionLanguage() { return spoken || language; }

function status(text) { $("status").textContent = text; }

function fail(error) {
  if (error.name === "AbortError") return;
  status("");
  $("error").textContent = WORDS[language].errors?.[error.kind] ?? error.message;
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// -- the API

class ApiError extends Error {
  constructor(kind, message) { super(message); this.kind = kind; }
}

async function call(path, options = {}) {
  for (;;) {
    const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("offline", say("offline"));
    }
    if (response.ok) return response;
    if (response.status === 401) { await login(); continue; }
    const { error } = await response.json().catch(() => ({ error: { kind: "failed", message: `HTTP ${response.status}` } }));
    throw new ApiError(error.kind, error.message);
  }
}

let loggingIn = null;
function login() {
  loggingIn ??= new Promise((resolve, reject) => {
    $("wrong").textContent = token ? say("wrong") : "";
    $("token").value = $("login").returnValue = "";
    $("login").addEventListener("close", () => {
      loggingIn = null;
      if ($("login").returnValue !== "enter") { reject(new ApiError("unauthorized", say("needed"))); return; }
      token = $("token").value.trim();
      sessionStorage.setItem("token", token);
      resolve();
    }, { once: true });
    $("login").showModal();
  });
  return loggingIn;
}

async function pictureAt(address, signal) {
  return URL.createObjectURL(await (await call(address, { signal })).blob());
}

// Ask about the photo that is shown: by its name where workers know it, else with its bytes.
async function ask(path, options, signal) {
  const of = shown;
  const query = () => new URLSearchParams({ ...options, ...(of.picture ? { picture: of.picture } : { keep: true }) });
  try {
    if (of.picture) return await (await call(`${path}?${query()}`, { method: "POST", signal })).json();
  } catch (error) {
    if (error.kind !== "picture_gone") throw error;
    of.picture = null;
  }
  const form = new FormData();
  form.append("file", of.file);
  const found = await (await call(`${path}?${query()}`, { method: "POST", body: form, signal })).json();
  of.picture = (found.photos?.[0] ?? found).picture;
  return found;
}

function begin() {
  asking.abort();
  asking = new AbortController();
  $("error").textContent = "";
  status(say("working"));
  return asking.signal;
}

// -- photos

async function open(file) {
  if (!file) return;
  if (file.type.startsWith("video/") || file.type === "image/gif") return openClip(file);
  stopClip();
  shown = { file, url: URL.createObjectURL(file), picture: null, captions: [] };
  showPicture();
  await sample(0, false);
}

function showPicture() {
  $("photo").hidden = false;
  $("clip").hidden = true;
  $("more").replaceChildren();
  $("captions").replaceChildren();
  $("picture").alt = "";
  $("picture").src = shown.url;
  clearHeat();
}

function chosen() {
  const form = new FormData($("options"));
  return Object.fromEntries([...form].map(([name, value]) => [name, name === "ladder" ? "true" : value]));
}

// `again`: a person asked for these samples.
async function sample(seed = crypto.getRandomValues(new Uint32Array(1))[0], again = true) {
  if (!shown) return;
  const of = shown, signal = begin();
  Object.assign(shown, { seed, again });
  try {
    const { photos: [photo] } = await ask("/v1/captions", { ...chosen(), seed, language: captionLanguage() }, signal);
    if (of !== shown) return;
    shown.model = photo.model;
    shown.notPhoto = photo.not_photo?.kind;
    const main = photo.best ?? photo.greedy, samples = photo.samples.map((each) => ["sample", each]);
    if (shown.notPhoto) shown.captions = again ? samples : []; // inventions: none unless asked for
    else {
      const isCut = main.beginning && wording(main, true).text !== wording(main).text;
      const whole = isCut ? [["whole", main]] : [], greedy = ![english(main), main.beginning].includes(english(photo.greedy)) ? [["greedy", photo.greedy]] : [];
      shown.captions = [["best", main], ...whole, ...greedy, ...samples];
    }
    showCaptions();
    const text = headline(shown);
    $("picture").alt = text;
    status(shown.notPhoto ? text : say("done", { text, count: photo.samples.length }));
    remember();
  } catch (error) {
    if (error.kind === "animated" && of === shown) openClip(of.file); else fail(error);
  }
}

function isUnsure(caption) { return Math.round(100 * caption.confidence) < 100 / 3; } // as in model/doubt.py

function hedged(caption, text) { return isUnsure(caption) ? say("perhaps", { text }) : text; }

function english(caption) { return caption.english ?? caption.text; }

// A caption, or its beginning, in the language in which it can be shown: {lang, text, words, gaps, original, failed}.
// `words` have maps: those of a Russian word are of the English words that it comes from. `original`: the English words.
function wording(caption, isBeginning = false) {
  const translation = isBeginning ? caption.translated_beginning : caption.translation;
  if (!translation?.passed) {
    const text = isBeginning ? caption.beginning : english(caption);
    const words = isBeginning ? caption.words.slice(0, caption.beginning.split(" ").length) : caption.words;
    return { lang: "en", text, words, gaps: [], failed: caption.english !== undefined };
  }
  const words = translation.text.split(/\s/).map((text, at) => translatedWord(text, translation.aligned[at].map((place) => caption.words[place])));
  const isCut = isBeginning && translation.text !== caption.translation.text;
  const original = isCut ? caption.words.slice(0, caption.beginning.split(" ").length) : caption.words;
  return { lang: "ru", text: translation.text, words, gaps: translation.text.match(/\s/g) ?? [], original };
}

function translatedWord(text, sources) {
  const maps = sources.map((source) => source.attention), from = sources.map((source) => source.text).join(" ");
  const mean = (row, column) => maps.reduce((sum, map) => sum + map[row][column], 0) / maps.length;
  return { text, from, attention: maps[0]?.map((shares, row) => shares.map((_, column) => mean(row, column))) ?? null };
}

// What is said first: hedged where it is unsure; of what is no photo, what it looks like.
function headline({ notPhoto, captions }) {
  if (notPhoto) return WORDS[language][`not_${notPhoto}`] ?? say("not_photo");
  const [, main] = captions[0];
  return hedged(main, wording(main, Boolean(main.beginning)).text);
}

function showCaptions() {
  pinned = null;
  clearHeat();
  const refused = shown.notPhoto ? [element("li", { className: "main", textContent: headline(shown) })] : [];
  $("captions").replaceChildren(...refused, ...shown.captions.map(([kind, caption], row) => {
    const main = !row && !shown.notPhoto;
    const said = wording(caption, main && Boolean(caption.beginning));
    const weigh = element("button", { type: "button", className: "weigh", textContent: say("weigh") });
    weigh.setAttribute("aria-label", `${say("weigh")}: ${said.text}`);
    weigh.addEventListener("click", () => explain(caption));
    const about = `${say(kind)} · ${say("confidence", { percent: Math.round(100 * caption.confidence) })} `;
    return element("li", { className: main ? "main" : "" }, ...line(said, main && isUnsure(caption)), element("div", { className: "kind" }, about, weigh));
  }));
}

// The words of a caption as buttons, and below them the English ones, folded, or why they are English.
function line(said, isHedged = false) {
  const below = [];
  if (said.failed) below.push(element("div", { className: "kind", textContent: say("not_translated") }));
  if (said.original) below.push(folded(element("div", { lang: "en" }, ...wordButtons(said.original))));
  const hedge = isHedged ? [say("perhaps", { text: "" })] : [];
  return [...hedge, element("span", { lang: said.lang }, ...wordButtons(said.words, said.gaps)), ...below];
}

function folded(original) {
  return element("details", { className: "kind" }, element("summary", { textContent: say("original") }), original);
}

function wordButtons(words, gaps = []) { return words.flatMap((word, at) => [wordButton(word), gaps[at] ?? " "]); }

function wordButton(word) {
  const button = element("button", { type: "button", className: "word", textContent: word.text });
  button.setAttribute("aria-pressed", "false");
  const show = () => showHeat(word);
  const leave = () => (pinned ? showHeat(pinned.word) : clearHeat());
  button.addEventListener("pointerenter", show);
  button.addEventListener("focus", show);
  button.addEventListener("pointerleave", leave);
  button.addEventListener("blur", leave);
  button.addEventListener("click", () => {
    const again = pinned?.button === button;
    pinned?.button.setAttribute("aria-pressed", "false");
    pinned = again ? null : { button, word };
    button.setAttribute("aria-pressed", String(!again));
    show();
  });
  return button;
}

// The attention as colour over the photo: a picture of one pixel a region, stretched smoothly.
function showHeat(word) {
  if (!word.attention) { clearHeat(); $("looked").textContent = say("no_map"); return; }
  const rows = word.attention.length, columns = word.attention[0].length;
  const most = Math.max(...word.attention.flat());
  const small = element("canvas", { width: columns, height: rows });
  const pixels = new ImageData(columns, rows);
  word.attention.flat().forEach((share, index) => {
    const heat = share / most;
    pixels.data.set([255, Math.round(170 * (1 - heat)), 0, Math.round(215 * heat)], 4 * index);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  const heat = $("heat"), { clientWidth, clientHeight } = $("picture");
  heat.width = clientWidth || 320;
  heat.height = clientHeight || 320;
  const context = heat.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, heat.width, heat.height);
  $("looked").textContent = say(word.from === undefined ? "looks" : "looks_from", {
    word: word.text, from: word.from, percent: Math.round(100 * most), regions: rows * columns, p: Math.round(100 * Math.exp(word.log_prob)),
  });
}

function clearHeat() {
  $("heat").width = $("heat").width; // an assignment clears it
  $("looked").textContent = say("hover");
}

function showMore(...children) {
  $("more").replaceChildren(...children);
  $("more").scrollIntoView({ block: "nearest" });
  status(say("shown"));
}

async function explain(caption) {
  const signal = begin();
  try {
    const found = await ask("/v1/explain", { caption: english(caption), model: shown.model, language: captionLanguage() }, signal);
    const named = (step) => (step.translated ? `${step.translated} (${step.word})` : step.word ?? say("end"));
    const figure = (p) => (p > 0 && p < 0.005 ? "< 1 %" : `${Math.round(100 * p)} %`);
    const rows = found.steps.map((step) => element("tr", {},
      element("th", { scope: "row", textContent: `${named(step)} ${figure(step.probability)}` }),
      element("td", { textContent: step.others.map((each) => `${each.word ?? say("end")} ${figure(each.probability)}`).join(", ") })));
    const head = element("tr", {}, element("th", { scope: "col", textContent: say("said") }), element("th", { scope: "col", textContent: say("others") }));
    const table = element("table", {}, element("caption", { textContent: wording(found.caption).text }), element("thead", {}, head), element("tbody", {}, ...rows));
    showMore(element("h3", { textContent: say("weigh") }), element("div", { className: "scroll", tabIndex: 0 }, table));
  } catch (error) { fail(error); }
}

async function compare() {
  const signal = begin();
  try {
    const models = await Promise.all(["attention", "baseline"].map(async (model) => {
      const { photos: [photo] } = await ask("/v1/captions", { model, samples: 0, language: captionLanguage() }, signal);
      const main = photo.best ?? photo.greedy;
      return element("section", { className: "model" }, element("h4", { textContent: say(model) }), element("div", {}, ...line(wording(main), isUnsure(main))),
        element("p", { className: "kind", textContent: say("confidence", { percent: Math.round(100 * main.confidence) }) }));
    }));
    showMore(element("h3", { textContent: say("compare") }), element("div", { className: "models" }, ...models));
  } catch (error) { fail(error); }
}

async function judgeTags(tags) {
  const signal = begin();
  try {
    const found = await ask("/v1/tags", tags ? { tags } : {}, signal);
    const fitting = found.tags.filter((tag) => tag.holds).map((tag) => `${tag.name} · ${Math.round(100 * tag.probability)} %`);
    const unknown = found.unjudgeable.map(({ text, unknown: words }) => say("unknown", { text, words: words.join(", ") }));
    const lines = [...(found.none_fits ? [say("none_fits")] : fitting), ...(tags ? unknown : [])];
    showMore(element("h3", { textContent: say("fitting") }), element("ul", {}, ...lines.map((textContent) => element("li", { textContent }))));
    status(lines.join("; "));
  } catch (error) { fail(error); }
}

async function drawn(title, fetchPicture) {
  const signal = begin();
  try {
    const image = element("img", { src: await fetchPicture(signal), alt: title });
    showMore(element("h3", { textContent: title }), image);
  } catch (error) { fail(error); }
}

function upload(path, options, signal) {
  const form = new FormData();
  form.append("file", shown.file);
  return call(`${path}?${new URLSearchParams(options)}`, { method: "POST", body: form, signal });
}

// -- clips

async function openClip(file) {
  stopClip();
  asking.abort();
  shown = null;
  $("photo").hidden = true;
  $("clip").hidden = false;
  $("working").hidden = false;
  $("progress").removeAttribute("value");
  $("timeline").replaceChildren();
  $("moments").replaceChildren();
  const signal = begin(), mine = { id: null }, asked = captionLanguage();
  clip = mine;
  watched = file;
  try {
    const form = new FormData();
    form.append("file", file);
    const begun = await (await call(`/v1/clips?language=${asked}`, { method: "POST", body: form })).json(); // never aborted: its id is needed to cancel it
    mine.id = begun.id;
    if (clip !== mine) { drop(mine.id); return; }
    for await (const state of events(`/v1/clips/${begun.id}/events`, signal)) {
      if (clip !== mine) return;
      await showClip(state, signal);
    }
  } catch (error) {
    fail(error);
  } finally {
    if (clip === mine) {
      clip = null;
      $("working").hidden = true;
      if (asked !== captionLanguage()) openClip(file);
    }
  }
}

async function* events(path, signal) {
  const reader = (await call(path, { signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").find((line) => line.startsWith("data: "));
      if (data) yield JSON.parse(data.slice(6));
    }
  }
}

async function showClip(state, signal) {
  if (state.state === "waiting") { status(say("waiting", { place: state.place })); return; }
  $("progress").value = state.percent;
  if (state.state === "working") { status(say("percent", { percent: state.percent })); return; }
  if (state.state === "cancelled") { status(say("cancelled")); return; }
  if (state.state === "failed") throw new ApiError(state.error.kind, state.error.message);
  const { result } = state;
  showTimeline(result);
  const items = await Promise.all(result.moments.map(async (moment) => element("li", {},
    element("img", { src: moment.picture ? await pictureAt(moment.picture, signal) : "", alt: moment.text }),
    element("div", {}, `${clock(moment.time)}  `, ...momentLine(moment)))));
  $("moments").replaceChildren(...items);
  status(result.still ? say("still") : say("moments", { count: result.moments.length }));
}

function momentLine({ text, english: original, translation }) {
  const lang = translation?.passed ? "ru" : "en", said = element("span", { lang, textContent: text });
  if (original === undefined) return [said];
  const below = lang === "ru" ? folded(element("div", { lang: "en", textContent: original })) : element("div", { className: "kind", textContent: say("not_translated") });
  return [said, below];
}

function clock(seconds) { return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`; }

// The novelty curve, with a line at each moment; 100 × 100 units, stretched to the page.
function showTimeline({ frames, duration, moments }) {
  const svg = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const x = (time) => (duration ? (100 * time) / duration : 50), most = Math.max(...frames.map((each) => each.score), 1e-6);
  const drawing = svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": say("novelty") });
  for (const moment of moments) drawing.append(svg("line", { x1: x(moment.time), x2: x(moment.time), y1: 0, y2: 100 }));
  drawing.append(svg("polyline", { points: frames.map((each) => `${x(each.time)},${98 - (95 * each.score) / most}`).join(" ") }));
  $("timeline").replaceChildren(drawing);
}

function stopClip() {
  const { id } = clip ?? {};
  clip = null;
  if (id) drop(id);
}

function drop(id) { call(`/v1/clips/${id}`, { method: "DELETE" }).catch(() => {}); }

// -- history of this visit

const past = [];

function remember() {
  if (past[0] !== shown) {
    if (past.includes(shown)) past.splice(past.indexOf(shown), 1);
    past.unshift(shown);
    for (const old of past.splice(20)) URL.revokeObjectURL(old.url);
  }
  $("past").hidden = false;
  $("found").replaceChildren();
  $("history").replaceChildren(...past.map((each) => pastPhoto(each)));
}

function pastPhoto(each, about = "") {
  const text = headline(each);
  const button = element("button", { type: "button" }, element("img", { src: each.url, alt: "" }), text + about);
  button.addEventListener("click", () => {
    stopClip();
    asking.abort();
    shown = each;
    showPicture();
    showCaptions();
    $("picture").alt = text;
    status(text);
  });
  return element("li", {}, button);
}

// The network sees 299 pixels: of a large photo a small copy is enough, and twenty of them fit into a request.
async function small(file) {
  if (file.size < 1e6) return file;
  try {
    const picture = await createImageBitmap(file);
    const scale = Math.min(1, 640 / Math.min(picture.width, picture.height));
    const canvas = element("canvas", { width: Math.round(picture.width * scale), height: Math.round(picture.height * scale) });
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    return await new Promise((give) => canvas.toBlob((blob) => give(blob ?? file), "image/jpeg", 0.9));
  } catch { return file; } // of a kind that the browser does not read
}

let finding = new AbortController(); // of its own: a clip that is in work goes on

async function find(text) {
  finding.abort();
  finding = new AbortController();
  const photos = [...past], { signal } = finding, form = new FormData();
  $("error").textContent = "";
  status(say("working"));
  $("found").replaceChildren();
  form.append("text", text);
  try {
    for (const { file } of photos) form.append("file", await small(file), file.name);
    const { found, unknown, failed } = await (await call("/v1/find", { method: "POST", body: form, signal })).json();
    $("found").replaceChildren(...found.map(({ index, probability }) => pastPhoto(photos[index], ` · ${Math.round(100 * probability)} %`)));
    const words = unknown.length ? [say("left_out", { words: unknown.join(", ") })] : [];
    if (failed.length) words.push(say("unread", { count: failed.length }));
    status([found.length ? say("found", { count: found.length }) : say("nothing_fits"), ...words].join(" "));
  } catch (error) { fail(error.kind === "option" ? new ApiError("query", say("query")) : error); }
}

// -- what a person does

for (const id of ["file", "camera"]) {
  $(id).addEventListener("change", ({ target }) => { open(target.files[0]); target.value = ""; });
}
document.addEventListener("paste", ({ clipboardData }) => open(clipboardData.files[0]));
document.addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  open(event.dataTransfer.files[0]);
});
$("picture").addEventListener("error", () => { $("picture").alt = say("not_shown"); });
for (const input of document.querySelectorAll("#options input[type=range]")) {
  const output = document.querySelector(`output[for=${input.id}]`);
  const show = () => { output.textContent = input.value; };
  input.addEventListener("input", show);
  show();
}
$("options").addEventListener("change", () => sample());
$("options").addEventListener("submit", (event) => { event.preventDefault(); sample(); });
$("compare").addEventListener("click", compare);
$("sheet").addEventListener("click", () => drawn(say("sheet"), async (signal) => {
  const { photos: [photo] } = await (await upload("/v1/captions", { model: "attention", samples: 0, sheet: true, language: captionLanguage() }, signal)).json();
  if (!photo.sheet) throw new ApiError("not_photo", headline({ notPhoto: photo.not_photo?.kind ?? "photo" }));
  return pictureAt(photo.sheet, signal);
}));
$("colours").addEventListener("submit", (event) => {
  event.preventDefault();
  const kind = new FormData(event.target).get("kind");
  drawn(say(kind), async (signal) => URL.createObjectURL(await (await upload("/v1/colours", { kind, language }, signal)).blob()));
});
$("tags").addEventListener("submit", (event) => {
  event.preventDefault();
  judgeTags(new FormData(event.target).get("tags").trim());
});
$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  find(new FormData(event.target).get("text"));
});
$("cancel").addEventListener("click", () => {
  stopClip();
  asking.abort();
  $("working").hidden = true;
  status(say("cancelled"));
});
// Captions in the language that is chosen now: the same samples; a clip that is in work is asked about again when it is done.
function sayAgain() {
  if (shown) sample(shown.seed, shown.again);
  else if (watched && !clip) openClip(watched);
}
$("language").addEventListener("change", ({ target }) => {
  language = target.value;
  translate();
  if (shown) showCaptions();
  if (!spoken) sayAgain();
});
$("spoken").addEventListener("change", ({ target }) => {
  spoken = target.value;
  sayAgain();
});
translate();
