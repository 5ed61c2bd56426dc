// The list that searches as one types draws a box of its own and leaves it without a name: give it its label's.
function nameBoxes() {
  for (const box of document.querySelectorAll(".select2-selection")) {
    const select = box.closest(".select2-container").previousElementSibling;
    const label = select && document.querySelector(`label[for="${select.id}"]`);
    if (!label) continue;
    label.id = label.id || `${select.id}_label`;
    const shown = box.querySelector(".select2-selection__rendered");
    box.setAttribute("aria-labelledby", `${label.id} ${shown.id}`);
    shown.setAttribute("aria-labelledby", label.id);
  }
}
// jQuery calls in the order in which it was asked: the boxes are drawn before this runs.
if (window.django && window.django.jQuery) window.django.jQuery(nameBoxes);
