// What the pages do with script; without it, they do the same, and are not live.
"use strict";

const every = 2000; // ms
const state = document.getElementById("state");

// page fetches the present page and returns it as a document.
async function page() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
  if (answer.status === 401) {
    location.reload();
  }
  if (!answer.ok) {
    throw new Error(answer.statusText);
  }
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// take puts the live parts of the fetched page in place of those that differ. Parts are
// compared, so that a screen reader hears of a status only when it changes.
function take(fresh) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(part.id);
    if (!now || now.innerHTML === part.innerHTML) {
      continue;
    }
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    part.replaceChildren(...now.childNodes);
    if (focused) {
      document.getElementById(focused)?.focus({ preventScroll: true });
    }
  }
}

// busy tells whether a part that would be replaced is in use: text in it is selected, or one
// of its boxes is checked.
function busy() {
  return document.getSelection()?.type === "Range" || document.querySelector("[data-live] input:checked") !== null;
}

async function refresh() {
  if (document.hidden || busy()) {
    return;
  }
  try {
    take(await page());
    say("");
  } catch {
    say("This page is not up to date: the node does not answer.");
  }
}

function say(text) {
  if (state && state.textContent !== text) {
    state.textContent = text;
    state.classList.toggle("problem", text !== "");
  }
}

if (document.querySelector("[data-live]")) {
  const loop = async () => {
    await refresh();
    setTimeout(loop, every);
  };
  setTimeout(loop, every);
}

// An upload shows how far it is; then the page of the steps takes this one's place.
for (const form of document.querySelectorAll("form[data-upload]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const bar = form.querySelector("progress");
    const button = form.querySelector("button");
    const request = new XMLHttpRequest();
    bar.hidden = false;
    button.disabled = true;
    request.upload.addEventListener("progress", (at) => {
      bar.value = at.lengthComputable ? (100 * at.loaded) / at.total : 0;
    });
    const show = () => {
      const fresh = new DOMParser().parseFromString(request.responseText, "text/html");
      const main = fresh.querySelector("main");
      if (main) {
        document.querySelector("main").replaceChildren(...main.childNodes);
      }
    };
    request.addEventListener("progress", show);
    request.addEventListener("load", () => {
      show();
      document.querySelector("main").focus();
    });
    request.addEventListener("error", () => {
      button.disabled = false;
      say("The node did not answer.");
    });
    request.open("POST", form.action);
    request.send(new FormData(form));
  });
}
