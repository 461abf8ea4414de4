"""Files of producers: parts of real ones, and imitations, true to their structure, of those that may not be shared.

Each function writes some files into a folder and returns the pattern of their names. Imitations show cells of rain, or
warm water, that move by `CELLS` towards east and `-CELLS / 2` towards north in a frame.
"""

from __future__ import annotations

import datetime
import gzip
import pathlib
import re

import h5py
import numpy as np
import pyproj
import xarray as xr

SIDE, FRAMES, CELLS = 48, 4, 1.0
BEGIN = datetime.datetime(2024, 6, 1, 12)


def cells(frame: int, rows: int = SIDE, columns: int = SIDE) -> np.ndarray:
    """A smooth pattern of at most 1, rows from north to south; about half of it is negative."""
    y, x = np.meshgrid(np.arange(rows)[::-1], np.arange(columns), indexing="ij")
    x, y = x - CELLS * frame, y + CELLS / 2 * frame
    waves = ((14.0, 22.0, 0.3), (26.0, 18.0, 1.1), (34.0, -16.0, 2.0), (-42.0, 30.0, 0.7))
    return sum(np.sin(2 * np.pi * (x / a + y / b) + c) for a, b, c in waves) / len(waves)


def moment(frame: int, minutes: float = 5) -> datetime.datetime:
    return BEGIN + frame * datetime.timedelta(minutes=minutes)


def text(group, **attrs) -> None:
    group.attrs.update({key: np.bytes_(v) if isinstance(v, str) else v for key, v in attrs.items()})


# Parts of real files


def knmi(folder: pathlib.Path, raw: pathlib.Path) -> str:
    rows, columns = slice(300, 300 + SIDE), slice(330, 330 + SIDE)
    for path in sorted(raw.glob("RAD_NL25*.h5")):
        with h5py.File(path) as source, h5py.File(folder / path.name, "w") as target:
            for name in source:
                source.copy(name, target)
            values = source["image1/image_data"][rows, columns]
            del target["image1/image_data"]
            target["image1"].create_dataset("image_data", data=values, compression="gzip")
            place = target["geographic"].attrs
            place["geo_number_rows"], place["geo_number_columns"] = np.int32([SIDE]), np.int32([SIDE])
            place["geo_row_offset"] = place["geo_row_offset"] + np.float32(rows.start)
            place["geo_column_offset"] = place["geo_column_offset"] + np.float32(columns.start)
    return "RAD_NL25*.h5"


def fmi_pgm(folder: pathlib.Path, raw: pathlib.Path) -> str:
    """Parts, compressed as FMI gives them out."""
    first_row, first_column = 700, 200
    for path in sorted(raw.glob("*SUOMI1.pgm.gz")):
        content = gzip.decompress(path.read_bytes())
        size = re.search(rb"\n760 1226\n255\n", content)
        image = np.frombuffer(content, np.uint8, 760 * 1226, size.end()).reshape(1226, 760)
        part = image[first_row : first_row + SIDE, first_column : first_column + SIDE]
        head = content[: size.start()].decode("latin-1")
        step_x, step_y = (float(re.search(rf"metersperpixel_{axis} (\S+)", head)[1]) for axis in "xy")
        place = pyproj.Proj("+proj=stere +lat_0=90 +lon_0=25 +lat_ts=60 +R=6371288")
        west, _ = place(18.6, 57.93)
        _, north = place(34.903, 69.005)
        west, north = west + step_x * first_column, north - step_y * first_row
        for name, corner in (
            ("bottomleft", (west, north - SIDE * step_y)),
            ("topright", (west + SIDE * step_x, north)),
        ):
            longitude, latitude = place(*corner, inverse=True)
            head = re.sub(rf"{name} \S+ \S+", f"{name} {longitude:.9f} {latitude:.9f}", head)
        written = f"{head}\n{SIDE} {SIDE}\n255\n".encode("latin-1") + part.tobytes()
        (folder / path.name).write_bytes(gzip.compress(written))
    return "*SUOMI1.pgm.gz"


def fmi_geotiff(folder: pathlib.Path, raw: pathlib.Path) -> str:
    import rasterio
    from rasterio.windows import Window

    window = Window(2500, 4200, SIDE, SIDE)
    for path in sorted(raw.glob("*FINUTM.tif")):
        with rasterio.open(path) as source:
            profile = {
                "driver": "GTiff",
                "dtype": "uint8",
                "count": 1,
                "width": SIDE,
                "height": SIDE,
                "crs": source.crs,
                "transform": source.window_transform(window),
            }
            with rasterio.open(folder / path.name, "w", **profile) as target:
                target.write(source.read(1, window=window), 1)
                target.update_tags(**source.tags())
    return "*FINUTM.tif"


def meteoswiss_gif(folder: pathlib.Path, raw: pathlib.Path) -> str:
    """Parts: their place on the map of the whole is not stated."""
    from PIL import Image

    for path in sorted(raw.glob("AQC*.gif")):
        with Image.open(path) as picture:
            part = picture.crop((300, 250, 300 + SIDE, 250 + SIDE))
            part.save(folder / path.name, comment=picture.info["comment"], optimize=False)
    return "AQC*.gif"


def rainfields(folder: pathlib.Path, raw: pathlib.Path) -> str:
    for path in sorted(raw.glob("66_*.nc")):
        with xr.open_dataset(path, decode_cf=False) as source:
            source.isel(y=slice(200, 200 + SIDE), x=slice(300, 300 + SIDE)).to_netcdf(folder / path.name)
    return "66_*.nc"


def nwcsaf(folder: pathlib.Path, raw: pathlib.Path) -> str:
    for path in sorted(raw.glob("S_NWC_CRR*.nc")):
        with xr.open_dataset(path, decode_cf=False) as source:
            source.isel(ny=slice(480, 480 + SIDE), nx=slice(900, 900 + SIDE)).to_netcdf(folder / path.name)
    return "S_NWC_CRR*.nc"


def mrms(folder: pathlib.Path, raw: pathlib.Path) -> str:
    """Parts of GRIB messages, compressed as NOAA gives them out."""
    import eccodes

    row, column = 1500, 4000
    for path in sorted(raw.glob("PrecipRate*.grib2")):
        with path.open("rb") as file:
            message = eccodes.codes_grib_new_from_file(file)
        values = eccodes.codes_get_values(message).reshape(3500, 7000)[row : row + SIDE, column : column + SIDE]
        for key, value in {
            "packingType": "grid_simple",
            "bitsPerValue": 16,
            "Ni": SIDE,
            "Nj": SIDE,
            "latitudeOfFirstGridPointInDegrees": 54.995 - 0.01 * row,
            "latitudeOfLastGridPointInDegrees": 54.995 - 0.01 * (row + SIDE - 1),
            "longitudeOfFirstGridPointInDegrees": 230.005 + 0.01 * column,
            "longitudeOfLastGridPointInDegrees": 230.005 + 0.01 * (column + SIDE - 1),
        }.items():
            eccodes.codes_set(message, key, value)
        eccodes.codes_set_values(message, values.ravel())
        (folder / f"MRMS_{path.name}.gz").write_bytes(gzip.compress(eccodes.codes_get_message(message)))
        eccodes.codes_release(message)
    return "MRMS_PrecipRate*.grib2.gz"


# Imitations

OPERA = "+proj=laea +lat_0=55.0 +lon_0=10.0 +x_0=1950000.0 +y_0=-2100000.0 +units=m +ellps=WGS84"
SWISS = (
    "+proj=somerc +lat_0=46.9524055555556 +lon_0=7.43958333333333 +k_0=1 +x_0=2600000 +y_0=1200000 +ellps=bessel"
    " +towgs84=674.374,15.056,405.346,0,0,0,0 +units=m +no_defs"
)
BELGIUM = (
    "+proj=lcc +lat_1=49.83333333333334 +lat_2=51.16666666666666 +lat_0=50.797815 +lon_0=4.359215833333333"
    " +x_0=649328 +y_0=665262 +ellps=GRS80 +towgs84=0,0,0,0,0,0,0 +no_defs"
)


def corners(projection: str, west: float, north: float, step: float) -> dict[str, float]:
    crs = pyproj.CRS.from_string(projection)
    place = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    east, south = west + SIDE * step, north - SIDE * step
    found = {}
    for name, corner in (("LL", (west, south)), ("LR", (east, south)), ("UL", (west, north)), ("UR", (east, north))):
        found[f"{name}_lon"], found[f"{name}_lat"] = place.transform(*corner)
    return found


def odim(path: pathlib.Path, time: datetime.datetime, conventions: str = "ODIM_H5/V2_4") -> h5py.File:
    file = h5py.File(path, "w")
    text(file, Conventions=conventions)
    what = {"object": "COMP", "source": "ORG:247", "version": "H5rad 2.4"}
    text(file.create_group("what"), date=f"{time:%Y%m%d}", time=f"{time:%H%M%S}", **what)
    text(file.create_group("how"), nodes="'behel','bejab'")
    return file


def opera(
    folder: pathlib.Path, raw: pathlib.Path | None = None, *, product: str = "COMP", name: str = "T_PAAH21"
) -> str:
    """Rain rates with their quality beside them; all attributes of an image are those of its dataset."""
    for frame in range(FRAMES):
        time = moment(frame)
        with odim(folder / f"{name}_C_EUOC_{time:%Y%m%d%H%M%S}.hdf", time, "ODIM_H5/V2_0") as file:
            rain = 8 * cells(frame)
            rain[rain < 0.1] = -8888000.0
            rain[:2] = -9999000.0
            for number, (quantity, values) in enumerate((("RATE", rain), ("QIND", np.ones_like(rain))), 1):
                dataset = file.create_group(f"dataset{number}")
                dataset.create_group("data1").create_dataset("data", data=values, compression="gzip")
                scale = {"gain": 1.0, "offset": 0.0, "nodata": -9999000.0, "undetect": -8888000.0}
                text(dataset.create_group("what"), quantity=quantity, product=product, **scale)
            west, north, step = 1.2e6, -1.4e6, 2000.0
            size = {"xscale": step, "yscale": step, "xsize": np.uint64(SIDE), "ysize": np.uint64(SIDE)}
            text(file.create_group("where"), projdef=OPERA, **size, **corners(OPERA, west, north, step))
    return f"{name}_C_EUOC_*.hdf"


def opera_maximum(folder: pathlib.Path, raw: object = None) -> str:
    """Reflectivity of the composite of 1 km, with a quality group within the data group."""
    for frame in range(FRAMES):
        time = moment(frame)
        with odim(folder / f"T_PABV21_C_EUOC_{time:%Y%m%d%H%M%S}.hdf", time) as file:
            echo = 10 + 30 * cells(frame)
            echo[echo < 0] = -8888000.0
            data = file.create_group("dataset1/data1")
            data.create_dataset("data", data=echo, compression="gzip")
            data.create_group("quality1").create_dataset("data", data=np.ones_like(echo))
            text(
                data.create_group("what"), quantity="DBZH", gain=1.0, offset=0.0, nodata=-9999000.0, undetect=-8888000.0
            )
            text(file["dataset1"].create_group("what"), product="MAX")
            size = {"xscale": 1000.0, "yscale": 1000.0, "xsize": np.uint64(SIDE), "ysize": np.uint64(SIDE)}
            text(file.create_group("where"), projdef=OPERA, **size, **corners(OPERA, 1.2e6, -1.4e6, 1000.0))
    return "T_PABV21_C_EUOC_*.hdf"


def rmi(folder: pathlib.Path, raw: object = None) -> str:
    """Rain rates without gain and nodata; the size of the pixels is in dataset1/where, the projection in where."""
    west, north = 300000.0, 1000000.0
    for frame in range(FRAMES):
        time = moment(frame)
        with odim(folder / f"{time:%Y%m%d%H%M%S}.rad.best.comp.rate.qpe.hdf", time, "ODIM_H5/V2_2") as file:
            values = np.maximum(8 * cells(frame), 0).astype("float32")
            values[:2] = np.nan
            dataset = file.create_group("dataset1")
            data = dataset.create_group("data1")
            data.create_dataset("data", data=values)
            text(data.create_group("what"), quantity="RATE")
            text(dataset.create_group("what"), product="QPE2_MFB_MFB")
            own = {"UL_x": west, "UL_y": north, "xscale": 1000.0, "yscale": 1000.0, "xsize": SIDE, "ysize": SIDE}
            text(dataset.create_group("where"), **own)
            text(file.create_group("where"), projdef=BELGIUM, height=144.0, **corners(BELGIUM, west, north, 1000.0))
    return "*.rad.best.comp.rate.qpe.hdf"


def meteoswiss_hdf5(folder: pathlib.Path, raw: object = None) -> str:
    """Rain rates on the Swiss map, the size of whose pixels is in kilometres."""
    for frame in range(FRAMES):
        time = moment(frame)
        with odim(folder / f"RZC{time:%y%j%H%M}VL.801.h5", time, "ODIM_H5/V2_3") as file:
            rain = np.maximum(8 * cells(frame), 0)
            rain[:2] = np.nan
            data = file.create_group("dataset1/data1")
            data.create_dataset("data", data=rain)
            scale = {"gain": 1.0, "offset": 0.0, "nodata": np.nan, "undetect": 0.0}
            text(data.create_group("what"), quantity="RATE", **scale)
            text(file["dataset1"].create_group("what"), product="SURF")
            size = {"xscale": 1.0, "yscale": 1.0, "xsize": SIDE, "ysize": SIDE}
            text(file.create_group("where"), projdef=SWISS, **size, **corners(SWISS, 2.6e6, 1.2e6, 1000.0))
    return "RZC*.h5"


def meteonet(folder: pathlib.Path, raw: object = None) -> str:
    """Rain of 5 minutes in hundredths of a millimetre, -1 if missing, with pickled dates."""
    data = np.stack([np.maximum(200 * cells(frame), 0) for frame in range(FRAMES)]).astype("int16")
    data[:, :2] = -1
    dates = np.array([moment(frame) for frame in range(FRAMES)], dtype=object)
    np.savez_compressed(folder / "rainfall_NW_2024_06.1.npz", data=data, dates=dates, miss_dates=np.array([], object))
    return "rainfall_NW_*.npz"


def radolan(folder: pathlib.Path, raw: pathlib.Path | None = None, *, product: str = "RY") -> str:
    """Rain of 5 minutes: a header of text, then two bytes a pixel from south to north, with a flag for missing."""
    rows = columns = 900
    for frame in range(FRAMES):
        time = moment(frame)
        image = np.full((rows, columns), 0x2000 | 2500, dtype="<u2")
        rain = np.round(np.maximum(100 * cells(frame), 0)).astype("<u2")
        image[400 : 400 + SIDE, 400 : 400 + SIDE] = rain[::-1]
        head = (
            f"{product}{time:%d%H%M}10000{time:%m%y}BY{{size:>7}}VS 3SW   2.18.3PR E-02INT   5GP 900x 900MS  9<boo,ros>"
        )
        size = 2 * rows * columns + len(head.format(size=0)) + 1
        name = f"raa01-ry_10000-{time:%y%m%d%H%M}-dwd---bin.gz"
        (folder / name).write_bytes(gzip.compress(head.format(size=size).encode() + b"\x03" + image.tobytes(), 1))
    return "raa01-ry_10000-*-bin.gz"


def nwcsaf_whole(folder: pathlib.Path, raw: object = None) -> str:
    """A whole region: its corner is beyond the disk of the Earth; there are zeros, farther out fill values."""
    y, x = 5.0e6 - 9e3 * np.arange(SIDE), -2.5e6 + 9e3 * np.arange(SIDE)
    for frame in range(FRAMES):
        time = moment(frame, 15)
        values = np.maximum(80 * cells(frame), 0).astype("uint16")
        values[np.hypot(y[:, None], x) > 5.5e6] = 65535
        attrs = {"standard_name": "convective_precipitation_rate", "units": "mm/h", "_FillValue": np.uint16(65535)}
        attrs |= {"scale_factor": np.float32(0.1), "add_offset": np.float32(0), "coordinates": "lon lat"}
        record = xr.Dataset(
            {"crr_intensity": (("ny", "nx"), values, attrs)},
            {
                name: (
                    name,
                    part.astype("float32"),
                    {"units": "m", "standard_name": f"projection_{name[1]}_coordinate"},
                )
                for name, part in (("ny", y), ("nx", x))
            },
            {
                "gdal_projection": "+proj=geos +a=6378137.000000 +b=6356752.300000 +lon_0=0.000000 +h=35785863.000000",
                "nominal_product_time": f"{time:%Y-%m-%dT%H:%M:%SZ}",
                "product_name": "CRR",
                "Conventions": "CF-1.6",
            },
        )
        record.to_netcdf(folder / f"S_NWC_CRR_MSG4_Europe-VISIR_{time:%Y%m%dT%H%M%SZ}.nc", engine="netcdf4")
    return "S_NWC_CRR*.nc"


def goes(folder: pathlib.Path, raw: object = None, *, top: float = 0.08, left: float = -0.03) -> str:
    """Rain rate of the imager of GOES-R: packed scan angles, a scalar time, quality flags and statistics beside it."""
    angle = 56e-6
    for frame in range(FRAMES):
        time = moment(frame, 10)
        mapping = {
            "grid_mapping_name": "geostationary",
            "perspective_point_height": 35786023.0,
            "semi_major_axis": 6378137.0,
            "semi_minor_axis": 6356752.31414,
            "inverse_flattening": 298.2572221,
            "latitude_of_projection_origin": 0.0,
            "longitude_of_projection_origin": -75.0,
            "sweep_angle_axis": "x",
        }
        field = {"long_name": "ABI L2+ Rainfall Rate", "standard_name": "rainfall_rate", "units": "mm h-1"}
        field |= {"grid_mapping": "goes_imager_projection", "ancillary_variables": "DQF"}
        record = xr.Dataset(
            {
                "RRQPE": (("y", "x"), np.maximum(8 * cells(frame), 0).astype("float32"), field),
                "DQF": (("y", "x"), np.zeros((SIDE, SIDE), "int8"), {"units": "1"}),
                "goes_imager_projection": ((), np.int32(-2147483647), mapping),
                "time_bounds": (("number_of_time_bounds",), [0.0, 1.0]),
                "mean_rainfall_rate": ((), np.float32(1)),
            },
            {
                "t": ((), np.datetime64(time, "ns"), {"standard_name": "time", "axis": "T"}),
                "y": (
                    "y",
                    top - angle * np.arange(SIDE),
                    {"units": "rad", "standard_name": "projection_y_coordinate"},
                ),
                "x": (
                    "x",
                    left + angle * np.arange(SIDE),
                    {"units": "rad", "standard_name": "projection_x_coordinate"},
                ),
                "x_image": ((), np.float32(0.0), {"units": "rad", "standard_name": "projection_x_coordinate"}),
            },
            {"Conventions": "CF-1.7", "title": "ABI L2 Rainfall Rate - Quantitative Prediction Estimate"},
        )
        packed = {"dtype": "int16", "scale_factor": 0.01, "_FillValue": -1}
        record.to_netcdf(
            folder / f"OR_ABI-L2-RRQPEF-M6_G16_s{time:%Y%j%H%M%S}0_e{time:%Y%j%H%M%S}9_c20240010000000.nc",
            encoding={"RRQPE": packed, "t": {"units": "seconds since 2000-01-01 12:00:00"}},
        )
    return "OR_ABI-L2-RRQPE*.nc"


def sea(frame: int) -> np.ndarray:
    return 288 + 2 * cells(frame)


def ghrsst(folder: pathlib.Path, raw: object = None) -> str:
    """Level 3 of a day each: packed temperature with its quality, errors and times of pixels."""
    for frame in range(FRAMES):
        time = moment(frame, 24 * 60)
        quality = np.full((1, SIDE, SIDE), 5, "int8")
        quality[0, 10:20, 5:15] = 2
        values = sea(frame)[None]
        values[quality < 4] = 250
        dims = ("time", "lat", "lon")
        kelvin = {"units": "kelvin", "standard_name": "sea_surface_skin_temperature"}
        record = xr.Dataset(
            {
                "sea_surface_temperature": (dims, values, {**kelvin, "ancillary_variables": "quality_level"}),
                "sst_dtime": (dims, np.zeros((1, SIDE, SIDE), "int32"), {"units": "seconds"}),
                "sses_bias": (dims, np.zeros((1, SIDE, SIDE), "float32"), {"units": "kelvin"}),
                "quality_level": (dims, quality, {"flag_values": np.arange(6, dtype="int8")}),
                "l2p_flags": (dims, np.zeros((1, SIDE, SIDE), "int16")),
            },
            {
                "time": ("time", np.array([time], "datetime64[ns]"), {"standard_name": "time"}),
                "lat": ("lat", 40 - 0.05 * np.arange(SIDE), {"units": "degrees_north", "standard_name": "latitude"}),
                "lon": ("lon", 5 + 0.05 * np.arange(SIDE), {"units": "degrees_east", "standard_name": "longitude"}),
            },
            {"Conventions": "CF-1.7", "gds_version_id": "2.1", "processing_level": "L3C"},
        )
        packed = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 273.15, "_FillValue": -32768}
        name = f"{time:%Y%m%d%H%M%S}-OSISAF-L3C_GHRSST-SSTskin-AVHRR_SST_METOP_B-v02.0-fv01.0.nc"
        record.drop_encoding().to_netcdf(folder / name, encoding={"sea_surface_temperature": packed})
    return "*-OSISAF-L3C_GHRSST-*.nc"


def cmems(folder: pathlib.Path, raw: object = None) -> str:
    """Potential temperature of a model of the sea, in levels, days in one file."""
    values = np.stack([np.stack([sea(frame) - 273.15, sea(frame) - 275]) for frame in range(FRAMES)])
    attrs = {"units": "degrees_C", "standard_name": "sea_water_potential_temperature"}
    positions = {"units": "m", "positive": "down", "standard_name": "depth", "axis": "Z"}
    xr.Dataset(
        {"thetao": (("time", "depth", "latitude", "longitude"), values.astype("float32"), attrs)},
        {
            "time": np.array([moment(frame, 24 * 60) for frame in range(FRAMES)], "datetime64[ns]"),
            "depth": ("depth", [0.494, 5.078], positions),
            "latitude": ("latitude", 36 + 0.083 * np.arange(SIDE)[::-1], {"units": "degrees_north"}),
            "longitude": ("longitude", 2 + 0.083 * np.arange(SIDE), {"units": "degrees_east"}),
        },
        {"source": "MERCATOR NEMO", "Conventions": "CF-1.8"},
    ).to_netcdf(folder / "cmems_mod_glo_phy-thetao_anfc_0.083deg_P1D-m.nc")
    return "cmems_mod_*.nc"


def roms(folder: pathlib.Path, raw: object = None) -> str:
    """Temperature in sigma levels from the bottom up, on a curvilinear grid, a day a file."""
    eta, xi = np.meshgrid(np.arange(SIDE)[::-1], np.arange(SIDE), indexing="ij")
    longitude, latitude = 10 + 0.02 * xi + 0.002 * eta, 63 + 0.01 * eta - 0.001 * xi
    for frame in range(FRAMES):
        dims = ("ocean_time", "s_rho", "eta_rho", "xi_rho")
        values = np.stack([sea(frame) - 280, sea(frame) - 276, sea(frame) - 273.15])[None]
        place = {"coordinates": "lon_rho lat_rho", "units": "Celsius", "long_name": "potential temperature"}
        xr.Dataset(
            {
                "temp": (dims, values.astype("float32"), place),
                "h": (("eta_rho", "xi_rho"), np.full((SIDE, SIDE), 100.0), {"units": "meter"}),
                "mask_rho": (("eta_rho", "xi_rho"), np.ones((SIDE, SIDE))),
            },
            {
                "ocean_time": np.array([moment(frame, 24 * 60)], "datetime64[ns]"),
                "s_rho": ("s_rho", [-0.8, -0.5, -0.1], {"standard_name": "ocean_s_coordinate_g2"}),
                "lon_rho": (("eta_rho", "xi_rho"), longitude, {"units": "degree_east", "standard_name": "longitude"}),
                "lat_rho": (("eta_rho", "xi_rho"), latitude, {"units": "degree_north", "standard_name": "latitude"}),
            },
            {"type": "ROMS/TOMS history file"},
        ).to_netcdf(folder / f"ocean_his_{frame:04d}.nc")
    return "ocean_his_*.nc"
